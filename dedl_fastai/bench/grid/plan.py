"""`plan_grid`: the runs that a table of the paper, with a user's options, seeds and folds, expands to."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...data.cohort import Cohort
from ...data.splits import save_splits
from ...errors import UserError
from ...runs.cohort import load_clf_cohort, load_split_cohort, with_demo_data
from ...runs.options.clf import ClfConfig
from ...runs.options.seg import SegConfig
from ...runs.options.tasks import CONFIGS
from ...training.run_folder import data_fingerprint
from ..paper.tables import PaperCell, PaperRow, PaperTable
from .grid_file import add_part, alone_in_grid
from .run_names import PLACES, absolute, canonical, run_name, settings_hash
from .run_spec import RunSpec

log = logging.getLogger(__name__)

_DATA_OPTIONS = ("data", "patient", "split", "splits", "folds", "seed", "limit_fields", "rules", "min_cells")


@dataclass(frozen=True)
class Request:
    """A table (or some of its rows) to be run, and what differs from the paper's settings."""

    table: PaperTable
    given: Mapping[str, Any]  # options of seg and clf, as a user gave them; they win over the table's
    seeds: tuple[int, ...] = ()  # default: the paper's
    folds: int | None = None  # default: the paper's


def plan_grid(request: Request, folder: Path) -> list[RunSpec]:
    """Return the runs of a request, ordered by seed and without duplicates, and add them to `folder`/grid.json.

    Raises `UserError`, before anything is written, for options that the table's runs do not have or that its rows set,
    and for unusable data.
    """
    options = {task: _given_for(task, request) for task in _tasks(request.table)}
    planner = _Planner(folder, request, options)
    cells = [planner.cell(row, cell) for row in request.table.rows for cell in row.cells]
    if not planner.runs:
        raise UserError(f"{request.table.name} has no cell that can be run: {_why_not(request.table)}.")
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in_grid(folder):
        planner.save_splits()
    asked = {task: _effective(task, given, request.table) for task, given in options.items()}
    add_part(folder, {"table": request.table.name, "options": asked, "folds": _other_folds(request), "cells": cells})
    order = {s: i for i, s in enumerate(dict.fromkeys(r["seed"] for c in cells for r in c["runs"]))}
    return sorted(planner.runs.values(), key=lambda r: (order[r.seed], r.fold))


class _Planner:
    """Expands cells to runs; cohorts are loaded once for equal data options and fold."""

    def __init__(self, folder: Path, request: Request, options: dict[str, dict[str, Any]]):
        self.folder, self.request, self.options = folder.resolve(), request, options
        self.runs: dict[str, RunSpec] = {}
        self.splits: dict[Path, Cohort] = {}  # file -> cohort
        self.prints: dict[str, tuple[str, Path | None]] = {}

    def cell(self, row: PaperRow, cell: PaperCell) -> dict[str, Any]:
        """Return a cell of the paper's table with its runs, for grid.json; there are no runs if it cannot be run."""
        if cell.why_not or not cell.task:
            return {"row": row.key, "column": cell.column, "runs": []}
        given = self._given(cell)
        folds = self.request.folds
        if folds is None:
            folds = 0 if given.get("splits") else cell.folds  # a file of splits has one fold
        given["folds"] = folds
        base = CONFIGS[cell.task].resolve(canonical(given))
        runs = []
        for seed in self.request.seeds or cell.seeds or (base.seed,):
            for fold in range(max(1, folds)):
                fold_name = f" fold {fold}" if folds else ""
                label = f"{self.request.table.name} {row.key} {cell.column} seed {seed}{fold_name}"
                run = self._run(cell, base, seed=seed, fold=fold, label=label)
                settings = settings_hash(cell.task, run.options, self._data(base, fold)[0])
                self.runs.setdefault(run.path.name, run)
                runs.append({"run": run.path.name, "seed": seed, "fold": fold, "kind": settings})
        return {"row": row.key, "column": cell.column, "runs": runs}

    def _given(self, cell: PaperCell) -> dict[str, Any]:
        """The options of a cell and the user's; arms that are compared with a baseline keep what they differ in."""
        asked = self.options[cell.task]
        return {**asked, **cell.options} if self.request.table.baseline else {**cell.options, **asked}

    def _run(self, cell: PaperCell, base: SegConfig | ClfConfig, seed: int, fold: int, label: str) -> RunSpec:
        fingerprint, splits = self._data(base, fold)
        options = {k: absolute(k, v) for k, v in base.to_dict().items()}
        if splits:
            options.update(splits=str(splits), split="auto", folds=0)
        name = run_name(cell.task, options, seed=seed, fold=fold if base.folds else None, fingerprint=fingerprint)
        return RunSpec(
            folder=str(self.folder / "runs" / name),
            task=cell.task,
            label=label,
            metric=cell.metric,
            options=options,
            seed=seed,
            fold=fold,
        )

    def _data(self, base: SegConfig | ClfConfig, fold: int) -> tuple[str, Path | None]:
        """Fingerprint of the split cohort; for segmentation, also the file of its split.

        All runs of a fold share the split, which depends on the option `seed` and not on the seeds of the runs.
        """
        names = (*_DATA_OPTIONS, *(("thresholds", "tile") if isinstance(base, ClfConfig) else ()))
        values = base.to_dict()
        key = json.dumps([type(base).__name__, fold, *(values.get(n) for n in names)])
        if key not in self.prints:
            self.prints[key] = self._loaded(base, fold)
        return self.prints[key]

    def _loaded(self, base: SegConfig | ClfConfig, fold: int) -> tuple[str, Path | None]:
        if isinstance(base, ClfConfig):
            return data_fingerprint(load_clf_cohort(base, fold)), None
        fingerprint = data_fingerprint(load_split_cohort(base, fold))
        whole = load_split_cohort(replace(base, limit_fields=0), fold)  # a run applies `limit_fields` after the file
        splits = self.folder / "splits" / f"{data_fingerprint(whole)}.json"
        self.splits[splits] = whole
        return fingerprint, splits

    def save_splits(self) -> None:
        """Write the files of new splits."""
        for path, cohort in self.splits.items():
            if not path.exists():
                save_splits(cohort, path)


def _effective(task: str, given: Mapping[str, Any], table: PaperTable) -> dict[str, Any]:
    """The given options without defaults and without those that say where a run is carried out."""
    config, preset = CONFIGS[task], given.get("preset", CONFIGS[task].default_of("preset"))
    overruling = {name for row in table.rows for c in row.cells for name in c.options}
    defaults = {k for k, v in given.items() if k not in overruling and v == config.default_of(k, preset)}
    return {k: v for k, v in given.items() if k not in PLACES and k not in defaults}


def _other_folds(request: Request) -> int | None:
    """The requested folds; None where they are the table's own."""
    own = {c.folds for row in request.table.rows for c in row.cells if c.task and not c.why_not}
    return None if own == {request.folds} else request.folds


def _tasks(table: PaperTable) -> list[str]:
    return sorted({c.task for row in table.rows for c in row.cells if c.task and not c.why_not})


def _why_not(table: PaperTable) -> str:
    return next((c.why_not for row in table.rows for c in row.cells if c.why_not), "it has no rows")


def _given_for(task: str, request: Request) -> dict[str, Any]:
    """The given options that the task has; with the demo cohort if no data is given."""
    if request.given.get("test_folds"):
        raise UserError("the runs of a table have its own folds: leave `test_folds` out.")
    known = {t: set(CONFIGS[t].__dataclass_fields__) for t in _tasks(request.table)}
    for name in request.given:
        if name in request.table.row_options:
            raise UserError(f"`{name}` is what the arms differ in: choose arms with `rows`.")
        if not any(name in names for names in known.values()):
            raise UserError(f"{request.table.name} consists of runs of {' and '.join(known)}, which have no {name!r}.")
    if not request.table.baseline:
        _warn_of_overruled(request)
    return with_demo_data({k: v for k, v in request.given.items() if k in known[task]}, task)


def _warn_of_overruled(request: Request) -> None:
    for name, value in request.given.items():
        compared = {str(c.options.get(name)) for row in request.table.rows for c in row.cells if not c.why_not}
        if len(compared) > 1:
            log.warning(
                "%s compares values of %s: %s for all of them makes them equal", request.table.name, name, value
            )
