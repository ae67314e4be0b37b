"""Made-up tables of a paper, whose runs take a second, and ways to carry them out."""

from collections.abc import Sequence
from typing import Any

from dedl_fastai.bench.grid.worker import carry_out
from dedl_fastai.bench.paper.tables import PaperCell, PaperRow, PaperTable

from ..options import NETWORK

TINY = {"preset": "demo", "split": "paper", "tile": 32, "bs": 8, "epochs": 2, "lr_min": 1e-4, "device": "cpu"}
APP = {"app": "gelu", "app_width": 64}


def cell(column: str, options: dict[str, Any], value: float | None = 0.5, **changes: Any) -> PaperCell:
    """A cell of segmentation runs of the tiny network."""
    facts = dict(sd=0.01, unit="", task="seg", metric="test.iou", seeds=(1, 2), folds=0, why_not="")
    return PaperCell(column=column, printed=f"{value}", value=value, options=options, **{**facts, **changes})


def table(rows: dict[str, Sequence[PaperCell]], name: str = "made-up") -> PaperTable:
    """A table of these cells."""
    made = tuple(PaperRow(key, key.title(), tuple(cells)) for key, cells in rows.items())
    columns = tuple(dict.fromkeys(c.column for row in made for c in row.cells))
    return PaperTable(name, 0, "Made up", "seg", "IoU", "2 seeds", ("A note.",), columns, made)


PAIR = table({"tiny": [cell("without", NETWORK), cell("with", {**NETWORK, **APP}, 0.6)]})


def one_by_one(runs):
    """An executor: each run in this process."""
    yield from map(carry_out, runs)
