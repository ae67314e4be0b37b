"""The plan of a grid: the runs that a table of the paper expands to, and grid.json, which keeps what was asked for."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...data.splits import save_splits
from ...errors import UserError
from ...io.files import read_json, write_json
from ...runs.cohort import load_clf_cohort, load_split_cohort, with_demo_data
from ...runs.options.clf import ClfConfig
from ...runs.options.seg import SegConfig
from ...runs.options.tasks import CONFIGS
from ...training.run_folder import data_fingerprint
from ..paper.tables import PaperCell, PaperRow, PaperTable
from .locks import held
from .run_spec import RunSpec

log = logging.getLogger(__name__)

# To be raised when the same options come to train another model: runs of older code are not taken for today's then.
_RECIPE = 2
# They do not change a run's result, or do so through the split, which is part of the data's fingerprint.
_NOT_HASHED = ("preset", "data", "split", "splits", "patient", "limit_fields", "folds", "seed", "seeds")
_FILES = ("weights", "rules")  # options that may name a file: its content counts, not its place
_PLACES = ("workers", "device")  # where a run is carried out
_NAMED = ("arch", "encoder", "model", "app")  # options that make a run folder's name readable


@dataclass(frozen=True)
class Request:
    """What a user asks for: a table (or some of its rows), and what is to differ from the paper's settings."""

    table: PaperTable
    given: Mapping[str, Any]  # options of seg and clf, as a user gave them; they win over the table's
    seeds: tuple[int, ...] = ()  # default: the paper's
    folds: int | None = None  # default: the paper's


def plan_grid(request: Request, folder: Path) -> list[RunSpec]:
    """The runs of a request, first seed first, added to `folder`/grid.json; equal runs of several cells are one.

    Raises `UserError`, before anything is written, for options no run of the table has, and for data that does not do.
    """
    options = {task: _given_for(task, request) for task in _tasks(request.table)}
    planner = _Planner(folder, request, options)
    cells = [planner.cell(row, cell) for row in request.table.rows for cell in row.cells]
    if not planner.runs:
        raise UserError(f"{request.table.name} has no cell that can be run: {_why_not(request.table)}.")
    folder.mkdir(parents=True, exist_ok=True)
    planner.save_splits()
    asked = {task: _that_count(task, given, request.table) for task, given in options.items()}
    _add(folder, {"table": request.table.name, "options": asked, "folds": _other_folds(request), "cells": cells})
    order = {s: i for i, s in enumerate(dict.fromkeys(r["seed"] for c in cells for r in c["runs"]))}
    return sorted(planner.runs.values(), key=lambda r: (order[r.seed], r.fold))


def read_grid(folder: str | Path) -> list[dict[str, Any]]:
    """What was asked of a grid: for each table and set of options the cells, and the runs behind each."""
    path = Path(folder) / "grid.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a grid: it has no grid.json. Make one with `dedl-fastai bench run TABLE`.")
    return read_json(path)["parts"]


class _Planner:
    """Expands cells to runs; cohorts are loaded once for equal data options and fold."""

    def __init__(self, folder: Path, request: Request, options: dict[str, dict[str, Any]]):
        self.folder, self.request, self.options = folder.resolve(), request, options
        self.runs: dict[str, RunSpec] = {}
        self.splits: dict[Path, Any] = {}  # file -> cohort
        self.prints: dict[str, tuple[str, Path | None]] = {}

    def cell(self, row: PaperRow, cell: PaperCell) -> dict[str, Any]:
        """The runs of a cell, for grid.json; none where it cannot be run."""
        if cell.why_not or not cell.task:
            return {"row": row.key, "column": cell.column, "runs": []}
        given = {**cell.options, **self.options[cell.task]}
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
                run = self._run(cell, base, seed, fold, label)
                name = Path(run.folder).name
                self.runs.setdefault(name, run)
                runs.append({"run": name, "seed": seed, "fold": fold, "kind": self._kind(cell.task, run, base, fold)})
        return {"row": row.key, "column": cell.column, "runs": runs}

    def _run(self, cell: PaperCell, base: SegConfig | ClfConfig, seed: int, fold: int, label: str) -> RunSpec:
        fingerprint, splits = self._data(cell.task, base, fold)
        options = {k: _absolute(k, v) for k, v in base.to_dict().items()}  # a worker may be in another folder
        if splits:
            options.update(splits=str(splits), split="auto", folds=0)
        name = run_name(cell.task, options, seed, fold if base.folds else None, fingerprint)
        return RunSpec(str(self.folder / "runs" / name), cell.task, label, cell.metric, options, seed, fold)

    def _kind(self, task: str, run: RunSpec, base: SegConfig | ClfConfig, fold: int) -> str:
        """A hash of all but the seed: runs of one fold that differ in it are of other data or other settings."""
        return _hash([task, _counted(run.options), self._data(task, base, fold)[0]])

    def _data(self, task: str, base: SegConfig | ClfConfig, fold: int) -> tuple[str, Path | None]:
        """Fingerprint of the split cohort; for segmentation, the file of its split too.

        Every run of a fold has the same split, whatever its seed: `seed` alone decides.
        """
        names = ("data", "patient", "split", "splits", "folds", "seed", "limit_fields", "rules", "min_cells")
        values = base.to_dict()
        key = json.dumps(
            [task, fold, *(values.get(n) for n in (*names, "thresholds", "tile" if task == "clf" else ""))]
        )
        if key not in self.prints:
            load = load_clf_cohort if task == "clf" else load_split_cohort
            fingerprint, splits = data_fingerprint(load(base, fold)), None
            if task == "seg":
                whole = load(replace(base, limit_fields=0), fold)  # `limit_fields` is applied after the file
                splits = self.folder / "splits" / f"{data_fingerprint(whole)}.json"
                self.splits[splits] = whole
            self.prints[key] = fingerprint, splits
        return self.prints[key]

    def save_splits(self) -> None:
        """Write the files of the splits that are new."""
        for path, cohort in self.splits.items():
            if not path.exists():
                save_splits(cohort, path)


def run_name(task: str, options: Mapping[str, Any], seed: int, fold: int | None, fingerprint: str) -> str:
    """Name of a run's folder: what it is, and a hash of all that decides its result.

    Where the data lies, on which device and with how many workers it is read do not count; what the data is does.
    """
    digest = _hash([_RECIPE, task, _counted(options), seed, fingerprint])
    parts = [task, *(str(options[n]) for n in _NAMED if options.get(n, "none") != "none"), f"s{seed}"]
    parts += [] if fold is None else [f"f{fold}"]
    readable = "-".join(p.replace("/", "_").replace(":", "_") for p in parts)
    return f"{readable}-{digest}"


def canonical(given: Mapping[str, Any]) -> dict[str, Any]:
    """The given options without those that others make idle: what trains the same is started with the same options."""
    idle: tuple[str, ...] = ()
    if given.get("app", "none") == "none":
        idle = tuple(name for name in given if name.startswith("app_"))
    elif given.get("app_released"):
        idle = ("app_weight", "app_target", "app_rows", "app_loss")
    elif given.get("app_weight", "auto") != "auto":
        idle = ("app_target",)
    return {k: v for k, v in given.items() if k not in idle}


def _hash(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _counted(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide a result, with the content of files."""
    return {k: _content(k, v) for k, v in options.items() if k not in (*_NOT_HASHED, *_PLACES)}


def _names_file(name: str, value: Any) -> bool:
    return name in (*_FILES, "splits") and bool(value) and Path(value).expanduser().is_file()


def _absolute(name: str, value: Any) -> Any:
    return str(Path(value).expanduser().resolve()) if _names_file(name, value) else value


def _content(name: str, value: Any) -> Any:
    if not _names_file(name, value):
        return value
    path = Path(value).expanduser()
    return _digest(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=32)
def _digest(path: Path, changed: int, size: int) -> str:
    """Of a file as it is; weights are large, and many runs of a grid begin with the same."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _that_count(task: str, given: Mapping[str, Any], table: PaperTable) -> dict[str, Any]:
    """The given options without those that change nothing: defaults, and where a run is carried out."""
    kind, preset = CONFIGS[task], given.get("preset", CONFIGS[task].default_of("preset"))
    overrule = {name for row in table.rows for c in row.cells for name in c.options}
    idle = {k for k, v in given.items() if k not in overrule and v == kind.default_of(k, preset)}
    return {k: v for k, v in given.items() if k not in _PLACES and k not in idle}


def _other_folds(request: Request) -> int | None:
    """The folds asked for, None where they are the table's own."""
    own = {c.folds for row in request.table.rows for c in row.cells if c.task and not c.why_not}
    return None if own == {request.folds} else request.folds


def _tasks(table: PaperTable) -> list[str]:
    return sorted({c.task for row in table.rows for c in row.cells if c.task and not c.why_not})


def _why_not(table: PaperTable) -> str:
    return next((c.why_not for row in table.rows for c in row.cells if c.why_not), "it has no rows")


def _given_for(task: str, request: Request) -> dict[str, Any]:
    """The given options that the task has, with the demo cohort where there is no data."""
    known = {t: set(CONFIGS[t].__dataclass_fields__) for t in _tasks(request.table)}
    for name in request.given:
        if not any(name in names for names in known.values()):
            raise UserError(f"{request.table.name} is made of runs of {' and '.join(known)}, which have no {name!r}.")
    _warn_of_overruled(request)
    return with_demo_data({k: v for k, v in request.given.items() if k in known[task]}, task)


def _warn_of_overruled(request: Request) -> None:
    for name, value in request.given.items():
        compared = {str(c.options.get(name)) for row in request.table.rows for c in row.cells if not c.why_not}
        if len(compared) > 1:
            log.warning(
                "%s compares values of %s: %s for all of them makes them equal", request.table.name, name, value
            )


def _add(folder: Path, part: dict[str, Any]) -> None:
    """Merge a request into grid.json: more rows, seeds and cells of the same table and options are one part."""
    with held(folder / "grid.lock", wait=-1):
        parts = read_grid(folder) if (folder / "grid.json").is_file() else []
        same = next((p for p in parts if _identity(p) == _identity(part)), None)
        if same is None:
            parts.append(part)
        else:
            same["cells"] = _merged(same["cells"], part["cells"])
        write_json(folder / "grid.json", {"parts": parts})


def _identity(part: dict[str, Any]) -> tuple[Any, ...]:
    """Table, folds and options, with the data's name instead of its place: a folder may move while a grid goes on."""
    named = {task: {**given, "data": Path(given["data"]).name} for task, given in part["options"].items()}
    return part["table"], part["folds"], named


def _merged(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in (*ours, *theirs):
        into = cells.setdefault((cell["row"], cell["column"]), {**cell, "runs": []})
        kinds = {r["fold"]: r["kind"] for r in cell["runs"]}
        kept = [r for r in into["runs"] if kinds.get(r["fold"], r["kind"]) == r["kind"]]
        if len(kept) < len(into["runs"]):
            log.warning(
                "%s, %s: %d earlier runs are of other data or other files: the report leaves them out",
                *(cell["row"], cell["column"], len(into["runs"]) - len(kept)),
            )
        into["runs"] = kept + [r for r in cell["runs"] if r not in kept]
    return list(cells.values())
