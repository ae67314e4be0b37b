"""`grid.json`: what was requested of a grid, in parts (a table with one set of options), and the runs of each cell."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...io.files import read_json, remove_temporaries, write_json
from ...io.locks import held

log = logging.getLogger(__name__)


@contextmanager
def alone_in_grid(folder: Path) -> Iterator[None]:
    """Wait until no other process writes into the folder of a grid, and remove what killed ones left half-written.

    The folders of its runs have locks of their own.
    """
    with held(folder / "grid.lock", wait=-1):
        remove_temporaries(folder)
        yield


def read_grid(folder: str | Path) -> list[dict[str, Any]]:
    """Return the parts of a grid: table, options, folds, and the runs of each cell. Raises `UserError` for no grid."""
    path = Path(folder) / "grid.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a grid: it has no grid.json. Make one with `dedl-fastai bench run TABLE`.")
    return read_json(path)["parts"]


def add_part(folder: Path, part: dict[str, Any]) -> None:
    """Add a request to grid.json; new rows, seeds and cells of the same table and options join its part."""
    with alone_in_grid(folder):
        parts = read_grid(folder) if (folder / "grid.json").is_file() else []
        same = next((p for p in parts if _identity(p) == _identity(part)), None)
        if same is None:
            parts.append(part)
        else:
            same["cells"] = _merged(same["cells"], part["cells"])
        write_json(folder / "grid.json", {"parts": parts})


def _identity(part: dict[str, Any]) -> tuple[Any, ...]:
    """Table, folds and options, with the name of the data's folder: that may move before a grid is complete."""
    named = {task: {**given, "data": Path(given["data"]).name} for task, given in part["options"].items()}
    return part["table"], part["folds"], named


def _merged(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells with the runs of both; where settings of a fold differ, only the runs with the later settings are kept."""
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in (*ours, *theirs):
        merged = cells.setdefault((cell["row"], cell["column"]), {**cell, "runs": []})
        settings = {r["fold"]: r["kind"] for r in cell["runs"]}
        kept = [r for r in merged["runs"] if settings.get(r["fold"], r["kind"]) == r["kind"]]
        if len(kept) < len(merged["runs"]):
            log.warning(
                "%s, %s: %d earlier runs have other data or other files: the report leaves them out",
                *(cell["row"], cell["column"], len(merged["runs"]) - len(kept)),
            )
        merged["runs"] = kept + [r for r in cell["runs"] if r not in kept]
    return list(cells.values())
