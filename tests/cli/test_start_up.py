"""The command line starts fast because it imports nothing heavy."""

import subprocess
import sys
from pathlib import Path

import dedl_fastai

HEAVY = ("torch", "torchvision", "fastai", "timm", "segmentation_models_pytorch", "pandas", "matplotlib", "numpy")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_cli_imports_nothing_heavy():
    assert run(f"import sys, dedl_fastai.cli; print([m for m in {HEAVY!r} if m in sys.modules])") == "[]"


def test_importing_the_readers_imports_no_deep_learning():
    code = "import sys; from dedl_fastai.io import open_field, read_mask; print([m for m in {!r} if m in sys.modules])"
    assert run(code.format(HEAVY[:5])) == "[]"


def test_launcher_in_a_checkout_is_the_same_command():
    launcher = Path(dedl_fastai.__file__).parents[1] / "cli.py"
    ours = subprocess.run([sys.executable, launcher, "--version"], capture_output=True, text=True, check=True)
    assert ours.stdout.strip() == dedl_fastai.__version__
