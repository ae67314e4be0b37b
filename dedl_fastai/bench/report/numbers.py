"""The numbers of a grid's report: the values of each cell, means, spreads, baselines, costs and machines."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...io.files import read_json
from ..grid.run_spec import DONE, FAILED, looked_up, result_of, run_state
from ..paper.tables import Beside, PaperCell, PaperRow, PaperTable

Run = tuple[int, int]  # seed, fold


@dataclass(frozen=True)
class CellResult:
    """One value of a table of the paper, and the runs that were requested for it."""

    row: PaperRow
    cell: PaperCell
    values: Mapping[Run, float] = field(default_factory=dict)  # of the finished runs
    folders: Mapping[Run, Path] = field(default_factory=dict)  # of the finished runs
    asked: int = 0
    failed: int = 0
    beside: Mapping[Beside, Mapping[Run, float]] = field(default_factory=dict)  # further numbers of the finished runs

    @cached_property
    def replicates(self) -> list[float]:
        """The values whose mean and spread are reported, see `replicates_of`."""
        return list(replicates_of(self.values).values())

    @property
    def mean(self) -> float | None:
        """Mean over the seeds of each seed's mean over its folds; None without a finished run."""
        return mean_and_sd(self.values)[0]

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds, or over the folds of a single seed."""
        return mean_and_sd(self.values)[1]

    @property
    def difference(self) -> float | None:
        """Mean of the runs minus the published value."""
        return None if self.mean is None or self.cell.value is None else self.mean - self.cell.value


def replicates_of(values: Mapping[Run, float]) -> dict[int, float]:
    """Return the mean over folds of each seed, or the value of each fold if there is a single seed.

    Only the seeds with the most folds count: folds differ more than seeds, so that a seed that lacks some would shift
    the mean and widen the spread.
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
    """Return the results of one part of a grid (see `read_grid`): all cells of the requested rows, in order."""
    asked = {(c["row"], c["column"]): c["runs"] for c in part["cells"]}
    rows = {row for row, _ in asked}
    return [
        _collected(row, cell, asked.get((row.key, cell.column), ()), folder / "runs", beside=table.beside)
        for row in table.rows
        if row.key in rows
        for cell in row.cells
    ]


def _collected(
    row: PaperRow, cell: PaperCell, runs: Sequence[Mapping[str, Any]], folder: Path, *, beside: Sequence[Beside]
) -> CellResult:
    states = {(r["seed"], r["fold"]): (folder / r["run"], run_state(folder / r["run"])) for r in runs}
    done = {k: path for k, (path, state) in states.items() if state == DONE}
    failed = sum(state == FAILED for _, state in states.values())
    return CellResult(
        row,
        cell,
        values=_values(done, cell.metric),
        folders=done,
        asked=len(states),
        failed=failed,
        beside={b: _values(done, b.metric) for b in beside},
    )


def _values(done: Mapping[Run, Path], metric: str) -> dict[Run, float]:
    return {k: value for k, path in done.items() if (value := result_of(path, metric)) is not None}


def mean_and_sd(values: Mapping[Run, float]) -> tuple[float | None, float | None]:
    """Return mean and standard deviation of `replicates_of` these values; None without values, or for a single one."""
    replicates = list(replicates_of(values).values())
    mean = statistics.fmean(replicates) if replicates else None
    return mean, statistics.stdev(replicates) if len(replicates) > 1 else None


def baselines(results: Sequence[CellResult]) -> dict[str, list[float]]:
    """Return the trivial predictors' scores in the metrics of the runs; a run behind several cells counts once.

    A predictor with thresholds is scored as the cell's runs are: with its tuned ones, or at 0.5.
    """
    found: dict[tuple[Path, str, str], float] = {}
    for path, metric in sorted({(path, r.cell.metric) for r in results for path in r.folders.values()}):
        metrics = read_json(path / "metrics.json")
        for baseline in metrics.get("baselines", {}):
            for title, names in _baseline_names(baseline, metric).items():
                for name in names:
                    value = looked_up(metrics, name)
                    if value is not None:
                        found[path, title, name] = value
                        break
    scores: dict[str, list[float]] = {}
    for (_, title, _), value in found.items():
        scores.setdefault(title, []).append(value)
    return scores


def _baseline_names(baseline: str, metric: str) -> dict[str, list[str]]:
    """Return where metrics.json may have the scores of a trivial predictor, by title; the first that exists is used."""
    plain = metric.replace(".at_0.5.", ".")
    split, _, name = plain.partition(".")
    return {
        baseline: [f"baselines.{baseline}.{metric}", f"baselines.{baseline}.{plain}"],
        f"{baseline}, best label set": [f"baselines.{baseline}.{split}.best_{name.removeprefix('f1_')}.{name}"],
    }


def costs(result: CellResult) -> dict[str, list[float]]:
    """Return seconds of training and peak memory (of the process, and on the GPU) of the finished runs."""
    read = [read_json(path / "cost.json") for _, path in sorted(result.folders.items())]
    names = ("train_seconds", "peak_mb", "peak_gpu_mb")
    return {n: [c[n] for c in read if c.get(n) is not None] for n in names}


def machines(results: Sequence[CellResult]) -> list[tuple[str, int]]:
    """Return a description of each hardware and software that runs were done with, and the number of the runs."""
    counts: dict[str, int] = {}
    for path in sorted({p for r in results for p in r.folders.values()}):
        m = read_json(path / "manifest.json")
        hardware = m["gpu"] or f"{m.get('cpu', 'CPU')}, {m['cpus']} cores, {m['threads']} threads"
        versions = ", ".join(f"{p} {v}" for p, v in m["packages"].items() if v)
        line = f"{hardware}; {m['platform']}; Python {m['python']}, dedl_fastai {m['dedl_fastai']}, {versions}"
        counts[line] = counts.get(line, 0) + 1
    return sorted(counts.items())
