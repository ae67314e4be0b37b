"""Runs the notebooks and stores their outputs: `python -m tests.notebooks [NAME...]`, `make notebooks-outputs`."""

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


def as_on_screen(text: str) -> str:
    """What a terminal shows of a text: progress bars overwrite themselves, and are gone at the end."""
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.split("\n")]
    return "\n".join(lines).strip("\n")


def execute(path: Path) -> None:
    """Run a notebook from its first cell to its last and write it with its outputs; an error ends the program."""
    from execnb.shell import CaptureShell
    from fastcore.nbio import read_nb, write_nb
    from fastcore.xtras import working_directory

    notebook = read_nb(path)
    shell = CaptureShell(path, mpl_format="png")
    with working_directory(path.parent):
        shell.run_all(notebook, exc_stop=True)
    if shell.exc:
        raise shell.exc
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream":
                output["text"] = as_on_screen("".join(output["text"])).splitlines(keepends=True)
        cell.outputs = [o for o in cell.get("outputs", []) if o.get("text") != []]
    notebook.metadata[STAMP] = code_hash(notebook)
    write_nb(notebook, path)


if __name__ == "__main__":
    chosen = sys.argv[1:]
    for notebook_path in paths():
        if not chosen or notebook_path.stem in chosen:
            execute(notebook_path)
