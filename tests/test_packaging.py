"""Packaging: `settings.ini` and `CITATION.cff` agree with pyproject.toml and `__version__`, and types are installed."""

import re
from configparser import ConfigParser
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

import dedl_fastai

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def settings():
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini")
    return parser["DEFAULT"]


def test_settings_mirror_pyproject():
    ini, project, nbdev = settings(), PROJECT["project"], PROJECT["tool"]["nbdev"]
    assert ini["version"] == dedl_fastai.__version__
    assert ini["lib_name"].replace("_", "-") == project["name"]
    assert ini["description"] == project["description"]
    assert f">={ini['min_python']}" == project["requires-python"]
    assert [ini[k] for k in ("lib_path", "nbs_path", "doc_path")] == [
        nbdev[k] for k in ("lib_path", "nbs_path", "doc_path")
    ]
    assert ini["tst_flags"].split() == nbdev["tst_flags"]


def test_citation_has_the_version_and_licence_of_the_package():
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {dedl_fastai.__version__}" in lines
    assert f"license: {PROJECT['project']['license']}" in lines


def test_the_changelog_has_the_version_of_the_package():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", dedl_fastai.__version__]


def test_type_hints_are_installed():
    assert (ROOT / "dedl_fastai" / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["dedl_fastai"]


def test_requirements_are_lower_bounds():
    assert all(">=" in r and "<" not in r and "==" not in r for r in PROJECT["project"]["dependencies"])
