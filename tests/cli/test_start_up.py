"""The command line starts fast: it imports nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest

import dedl_fastai

HEAVY = ("torch", "torchvision", "fastai", "timm", "segmentation_models_pytorch", "pandas", "matplotlib", "numpy")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_cli_imports_nothing_heavy():
    assert run(f"import sys, dedl_fastai.cli; print([m for m in {HEAVY!r} if m in sys.modules])") == "[]"


@pytest.mark.parametrize("command", ["seg", "clf", "predict", "evaluate", "bench run"])
def test_help_of_a_command_imports_nothing_heavy(command):
    code = f"""
import sys
from typer.testing import CliRunner
from dedl_fastai.cli import app
result = CliRunner().invoke(app, [*{command!r}.split(), "--help"])
assert result.exit_code == 0, result.output
print([m for m in {HEAVY!r} if m in sys.modules])
"""
    assert run(code) == "[]"


def test_importing_the_readers_imports_no_deep_learning():
    code = "import sys; from dedl_fastai.io import open_field, read_mask; print([m for m in {!r} if m in sys.modules])"
    assert run(code.format(HEAVY[:5])) == "[]"


@pytest.mark.parametrize("command", ["gate", "correct", "neighbours", "reports"])
def test_commands_on_finished_results_import_no_deep_learning(command):
    code = f"import sys, dedl_fastai.predict.{command}; print([m for m in {HEAVY[:5]!r} if m in sys.modules])"
    assert run(code) == "[]"


def test_the_scores_of_a_saved_run_need_none_of_the_libraries_of_a_training():
    code = f"import sys, dedl_fastai.runs.evaluation; print([m for m in {HEAVY[1:5]!r} if m in sys.modules])"
    assert run(code) == "[]"


def test_the_launcher_of_a_checkout_runs_the_same_command():
    launcher = Path(dedl_fastai.__file__).parents[1] / "cli.py"
    ours = subprocess.run([sys.executable, launcher, "--version"], capture_output=True, text=True, check=True)
    assert ours.stdout.strip() == dedl_fastai.__version__
