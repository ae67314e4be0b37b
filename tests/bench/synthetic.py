"""Synthetic tables of a paper, whose runs take a second; ways to carry runs out; and run folders without training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dedl_fastai.bench.grid.worker import carry_out
from dedl_fastai.bench.paper.tables import PaperCell, PaperRow, PaperTable

from ..options import NETWORK, PLAIN

TINY = {
    "preset": "demo",
    "split": "paper",
    "tile": 32,
    "bs": 8,
    "epochs": 2,
    "lr": 2e-3,
    "lr_min": 1e-4,
    "device": "cpu",
}
TINY |= PLAIN
APP = {"app": "gelu", "app_width": 64}
MACHINE = {
    **{"gpu": "", "cpus": 2, "threads": 1, "platform": "Here", "python": "3", "dedl_fastai": "1"},
    "packages": {"torch": "2", "timm": ""},
}


def cell(column: str, options: dict[str, Any], value: float | None = 0.5, **changes: Any) -> PaperCell:
    """A cell of segmentation runs of the tiny network."""
    facts = dict(sd=0.01, unit="", task="seg", metric="test.iou", seeds=(1, 2), folds=0, why_not="")
    return PaperCell(column=column, printed=f"{value}", value=value, options=options, **{**facts, **changes})


def table(rows: dict[str, Sequence[PaperCell]], name: str = "synthetic") -> PaperTable:
    """A table of these cells."""
    paper_rows = tuple(PaperRow(key, key.title(), tuple(cells)) for key, cells in rows.items())
    columns = tuple(dict.fromkeys(c.column for row in paper_rows for c in row.cells))
    return PaperTable(
        name=name,
        number=0,
        title="Synthetic",
        task="seg",
        metric="IoU",
        behind="2 seeds",
        notes=("A note.",),
        columns=columns,
        rows=paper_rows,
    )


PAIR = table({"tiny": [cell("without", NETWORK), cell("with", {**NETWORK, **APP}, 0.6)]})


def one_by_one(runs):
    """An executor: each run in this process."""
    yield from map(carry_out, runs)


def finished(folder: Path, name: str, iou: float, app_grad_ratio: float | None = None, **cost: Any) -> None:
    """Write the folder of a finished run with these results."""
    run = folder / "runs" / name
    run.mkdir(parents=True)
    metrics = {"test": {"iou": iou, "at_0.5": {"iou": iou - 0.1}}, "baselines": {"otsu": {"test": {"iou": 0.6}}}}
    metrics["weights"] = {"swa": {"test": {"at_0.5": {"iou": iou + 0.01}}}}
    files = {"metrics": metrics, "cost": {"train_seconds": 10.0, "peak_mb": 700, **cost}, "manifest": MACHINE}
    for file, value in files.items():
        (run / f"{file}.json").write_text(json.dumps(value))
    last = "" if app_grad_ratio is None else app_grad_ratio
    (run / "history.csv").write_text(f"epoch,app_grad_ratio,seconds\n0,0.5,6\n1,{last},4\n")


def failed(folder: Path, name: str) -> None:
    """Write the folder of a failed run."""
    run = folder / "runs" / name
    run.mkdir(parents=True)
    (run / "error.txt").write_text("no luck\n")


def grid_of(
    folder: Path,
    cells: Mapping[tuple[str, str], Sequence[tuple[str, int, int]]],  # (row, column) -> (run, seed, fold)
    options: Mapping[str, Any] | None = None,
    name: str = "synthetic",
) -> dict[str, Any]:
    """Write grid.json with one part, and return the part."""
    part = {"table": name, "options": {"seg": {"data": "/there/cohort", **(options or {})}}, "folds": None}
    runs = [
        {"row": r, "column": c, "runs": [dict(zip(("run", "seed", "fold"), x, strict=True)) for x in of_cell]}
        for (r, c), of_cell in cells.items()
    ]
    folder.mkdir(exist_ok=True)
    (folder / "grid.json").write_text(json.dumps({"parts": [{**part, "cells": runs}]}))
    return {**part, "cells": runs}
