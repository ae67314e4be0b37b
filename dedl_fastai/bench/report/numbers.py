"""The numbers of a grid's report: values behind each cell, means, spreads, paired differences, baselines, costs."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from scipy import stats

from ...io.files import read_json
from ..grid.run_spec import DONE, FAILED, looked_up, result_of, run_state
from ..paper.tables import PaperCell, PaperRow, PaperTable
from .paired import paired_difference

Run = tuple[int, int]  # seed, fold


@dataclass(frozen=True)
class CellResult:
    """A cell of the paper and the runs that were asked for in its place."""

    row: PaperRow
    cell: PaperCell
    values: Mapping[Run, float] = field(default_factory=dict)  # of the finished runs
    folders: Mapping[Run, Path] = field(default_factory=dict)  # of the finished runs
    asked: int = 0
    failed: int = 0

    @cached_property
    def replicates(self) -> list[float]:
        """What the spread is taken over: see `replicates_of`."""
        return list(replicates_of(self.values).values())

    @property
    def mean(self) -> float | None:
        """Mean over the seeds of each seed's mean over its folds; None without a finished run."""
        return statistics.fmean(self.replicates) if self.replicates else None

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds, or over the folds of a single seed."""
        return statistics.stdev(self.replicates) if len(self.replicates) > 1 else None

    @property
    def difference(self) -> float | None:
        """Here minus published."""
        return None if self.mean is None or self.cell.value is None else self.mean - self.cell.value


@dataclass(frozen=True)
class PairedResult:
    """A cell with APP against the same without: published difference, and the one here, pair by pair."""

    result: CellResult
    published: float | None
    here: dict[str, float]  # as `paired_difference` gives it
    signed_rank_p: float


def replicates_of(values: Mapping[Run, float]) -> dict[int, float]:
    """seed -> mean over its folds, of the seeds with the most folds; with a single such seed, fold -> value.

    Folds differ more than seeds do: a seed that lacks some would shift the mean and widen the spread.
    """
    by_seed: dict[int, dict[int, float]] = {}
    for (seed, fold), value in sorted(values.items()):
        by_seed.setdefault(seed, {})[fold] = value
    most = max(map(len, by_seed.values()), default=0)
    by_seed = {seed: folds for seed, folds in by_seed.items() if len(folds) == most}
    if len(by_seed) == 1:
        return next(iter(by_seed.values()))
    return {seed: statistics.fmean(folds.values()) for seed, folds in by_seed.items()}


def collect(part: Mapping[str, Any], table: PaperTable, folder: Path) -> list[CellResult]:
    """The results of one part of a grid (see `read_grid`), in the paper's order: the asked rows, all their cells."""
    asked = {(c["row"], c["column"]): c["runs"] for c in part["cells"]}
    rows = {row for row, _ in asked}
    return [
        _collected(row, cell, asked.get((row.key, cell.column), ()), folder / "runs")
        for row in table.rows
        if row.key in rows
        for cell in row.cells
    ]


def _collected(row: PaperRow, cell: PaperCell, runs: Sequence[Mapping[str, Any]], folder: Path) -> CellResult:
    states = {(r["seed"], r["fold"]): (folder / r["run"], run_state(folder / r["run"])) for r in runs}
    done = {k: path for k, (path, state) in states.items() if state == DONE}
    values = {k: result_of(path, cell.metric) for k, path in done.items()}
    failed = sum(state == FAILED for _, state in states.values())
    return CellResult(row, cell, {k: v for k, v in values.items() if v is not None}, done, len(states), failed)


def app_differences(results: Sequence[CellResult]) -> list[PairedResult]:
    """Each cell with APP against the one of its row that has the same options and none, over the runs both have."""
    found = []
    for result in results:
        if result.cell.options.get("app", "none") == "none":
            continue
        without = next((r for r in results if _is_baseline(r, result)), None)
        both_have = set(result.values) & set(without.values) if without else set()
        common = sorted(k for k in both_have if result.folders[k] != without.folders[k])  # one run is no pair
        if not common:
            continue
        ours, theirs = [replicates_of({k: r.values[k] for k in common}) for r in (result, without)]
        pair = list(ours.values()), list(theirs.values())
        both = (result.cell.value, without.cell.value)
        published = None if None in both else both[0] - both[1]
        found.append(PairedResult(result, published, paired_difference(*pair), _signed_rank(*pair)))
    return found


def _is_baseline(other: CellResult, result: CellResult) -> bool:
    plain = {k: v for k, v in result.cell.options.items() if not k.startswith("app")}
    theirs = {k: v for k, v in other.cell.options.items() if (k, v) != ("app", "none")}
    return other.row.key == result.row.key and other.cell.metric == result.cell.metric and theirs == plain


def _signed_rank(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """p of Wilcoxon's signed-rank test; NaN without two pairs that differ."""
    if len(ours) < 2 or all(a == b for a, b in zip(ours, theirs, strict=True)):
        return float("nan")
    return float(stats.wilcoxon(ours, theirs).pvalue)


def baselines(results: Sequence[CellResult]) -> dict[str, list[float]]:
    """The trivial predictors' scores in the runs' own metric, a value a run; runs of several cells count once."""
    found: dict[str, list[float]] = {}
    runs = {path: r.cell.metric for r in results for path in r.folders.values()}
    for path, metric in sorted(runs.items()):
        metric = metric.replace(".at_0.5.", ".")  # they have no threshold
        split, _, name = metric.partition(".")
        metrics = read_json(path / "metrics.json")
        for baseline in metrics.get("baselines", {}):
            value = looked_up(metrics, f"baselines.{baseline}.{metric}")
            best = looked_up(metrics, f"baselines.{baseline}.{split}.best_{name.removeprefix('f1_')}.{name}")
            for title, v in ((baseline, value), (f"{baseline}, best label set", best)):
                if v is not None:
                    found.setdefault(title, []).append(v)
    return found


def costs(result: CellResult) -> dict[str, list[float]]:
    """Seconds of training and peak memory (of the process, and on the GPU) of the finished runs."""
    read = [read_json(path / "cost.json") for _, path in sorted(result.folders.items())]
    names = ("train_seconds", "peak_mb", "peak_gpu_mb")
    return {n: [c[n] for c in read if c.get(n) is not None] for n in names}


def machines(results: Sequence[CellResult]) -> list[tuple[str, int]]:
    """Where the runs were done, with what: a line each, and how many runs."""
    counts: dict[str, int] = {}
    for path in sorted({p for r in results for p in r.folders.values()}):
        m = read_json(path / "manifest.json")
        hardware = m["gpu"] or f"{m.get('cpu', 'CPU')}, {m['cpus']} cores, {m['threads']} threads"
        versions = ", ".join(f"{p} {v}" for p, v in m["packages"].items() if v)
        line = f"{hardware}; {m['platform']}; Python {m['python']}, dedl_fastai {m['dedl_fastai']}, {versions}"
        counts[line] = counts.get(line, 0) + 1
    return sorted(counts.items())
