"""`settings.ini` repeats pyproject.toml for tools that read it; pyproject.toml and `__version__` are the source."""

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


def test_requirements_are_lower_bounds():
    assert all(">=" in r and "<" not in r and "==" not in r for r in PROJECT["project"]["dependencies"])
