"""Helpers that call the command line and read the files it wrote."""

import json
from pathlib import Path

from typer.testing import CliRunner

from dedl_fastai.cli import app

WRITE = "mask,labels,cells,geojson,overlay,neighbours"


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def check_table_of_test_folds(stdout: str, folder: Path, title: str, metric: str) -> None:
    """Check the title, the pooled score with its interval, and that `evaluate` of the folder prints the same lines."""
    test, lines = json.loads((folder / "metrics.json").read_text())["test"], stdout.splitlines()
    assert lines[0] == title
    low, high = test["intervals"][metric]
    at = next(i for i, line in enumerate(lines) if line.startswith("test, tuned thresholds"))
    assert f"{test[metric]:.4f}" in lines[at] and f"{low:.3f} to {high:.3f}" in lines[at + 1]
    again = dedl("evaluate", folder)
    assert again.exit_code == 0 and again.stdout.splitlines() == lines[: len(again.stdout.splitlines())]
