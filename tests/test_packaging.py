"""Packaging: what repeats the version and the requirements of pyproject.toml agrees with it; types are installed."""

import ast
import re
from configparser import ConfigParser
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

import pytest
import yaml

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


PACKAGING = ROOT / "packaging"
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "huggingface-hub": "huggingface_hub"}


def requirements() -> dict[str, str]:
    """Name -> lower bound of each dependency."""
    return dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", r).groups() for r in PROJECT["project"]["dependencies"])


def test_the_conda_recipe_has_the_version_and_the_requirements_of_the_package():
    recipe = yaml.safe_load((PACKAGING / "conda" / "recipe.yaml").read_text())
    assert recipe["context"]["version"] == dedl_fastai.__version__
    assert f">={recipe['context']['python_min']}" == PROJECT["project"]["requires-python"]
    run = dict(r.split(" >=") for r in recipe["requirements"]["run"] if not r.startswith("python "))
    assert run == {CONDA_NAMES.get(name, name): bound for name, bound in requirements().items()}
    assert recipe["about"]["license"] == PROJECT["project"]["license"]
    (script,) = recipe["build"]["python"]["entry_points"]
    assert dict([script.split(" = ")]) == PROJECT["project"]["scripts"]


def test_the_modules_of_workflows_ask_for_the_version_of_the_package():
    files = ("nextflow/environment.yml", "snakemake/environment.yaml", "nextflow/main.nf")
    for file in files:
        assert dedl_fastai.__version__ in (PACKAGING / file).read_text(), file
    for file in ("nextflow/meta.yml", "snakemake/meta.yaml"):
        assert {"name", "description", "input", "output"} <= yaml.safe_load((PACKAGING / file).read_text()).keys()
    ast.parse((PACKAGING / "snakemake" / "wrapper.py").read_text())


def test_the_container_copies_files_that_exist_and_starts_the_command():
    lines = (PACKAGING / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
    assert f'CMD ["{next(iter(PROJECT["project"]["scripts"]))}", "--help"]' in lines


def test_the_lock_file_has_every_requirement_at_its_lower_bound_or_above():
    locked = re.findall(r"^([\w.-]+)==([\d.]+)", (PACKAGING / "lock.txt").read_text(), re.MULTILINE)
    for name, bound in requirements().items():
        versions = [tuple(map(int, v.split(".")[:2])) for n, v in locked if n == name]
        assert versions and min(versions) >= tuple(map(int, bound.split(".")[:2])), name


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_classifiers_name_the_versions_of_python(version):
    assert f"Programming Language :: Python :: {version}" in PROJECT["project"]["classifiers"]
