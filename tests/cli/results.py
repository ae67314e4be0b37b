"""Helpers that call the command line and read the files it wrote."""

from pathlib import Path

from typer.testing import CliRunner

from dedl_fastai.cli import app

WRITE = "mask,labels,cells,geojson,overlay,neighbours"


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
