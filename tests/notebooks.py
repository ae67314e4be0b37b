"""Executes the notebooks and stores their outputs: `python -m tests.notebooks [NAME...]`, as `make notebooks-outputs`."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "nbs"
STAMP = "executed"  # in the metadata: hash of the code that gave the outputs
LARGEST = 1_500_000  # bytes


def paths() -> list[Path]:
    """The notebooks, in order."""
    return sorted(FOLDER.glob("*.ipynb"))


def code_hash(notebook: dict[str, Any]) -> str:
    """A hash of the sources of all code cells."""
    sources = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def execute(path: Path) -> None:
    """Run a notebook from its first cell to its last and write it with its outputs; an error ends the program."""
    from execnb.nbio import read_nb, write_nb
    from execnb.shell import CaptureShell
    from fastcore.xtras import working_directory

    notebook = read_nb(path)
    shell = CaptureShell(path, mpl_format="png")
    with working_directory(path.parent):
        shell.run_all(notebook, exc_stop=True)
    if shell.exc:
        raise shell.exc
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    notebook.metadata[STAMP] = code_hash(notebook)
    write_nb(notebook, path)


if __name__ == "__main__":
    chosen = sys.argv[1:]
    for notebook_path in paths():
        if not chosen or notebook_path.stem in chosen:
            execute(notebook_path)
