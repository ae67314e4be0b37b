"""Paired differences: what APP or a row adds to a cell, seed by seed and fold by fold, with intervals and p values."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from ..paper.tables import PaperTable
from .numbers import CellResult, replicates_of


@dataclass(frozen=True)
class PairedResult:
    """A cell compared with the one that it is a variant of: published and measured difference, the latter paired."""

    result: CellResult
    published: float | None
    here: dict[str, float]  # see `paired_difference`
    signed_rank_p: float


def paired_differences(table: PaperTable, results: Sequence[CellResult]) -> list[PairedResult]:
    """Compare each cell with APP with the one without, or, if the table has `rows_paired`, each row with its baseline.

    A cell with APP is compared with the cell of the same metric that has no APP and otherwise the same options; in a
    table of arms it is in another row. Only the seeds and folds of which both have a run are compared.
    """
    if table.rows_paired:
        pairs = [(result, _in_baseline_row(table, results, result)) for result in results]
    else:
        pairs = [(result, _without_app(results, result)) for result in results]
    differences = (_difference(result, without) for result, without in pairs if without)
    return [d for d in differences if d]


def compared(table: PaperTable) -> str:
    """Return in words what the differences of a table are between."""
    return f"Each row minus {table.baseline}" if table.rows_paired else "With APP minus without"


def _in_baseline_row(table: PaperTable, results: Sequence[CellResult], result: CellResult) -> CellResult | None:
    if result.row.key == table.baseline:
        return None
    of_row = (r for r in results if r.row.key == table.baseline and r.cell.column == result.cell.column)
    return next(of_row, None)


def _without_app(results: Sequence[CellResult], result: CellResult) -> CellResult | None:
    if result.cell.options.get("app", "none") == "none":
        return None
    return next((r for r in results if _is_baseline(r, result)), None)


def _is_baseline(other: CellResult, result: CellResult) -> bool:
    plain = {k: v for k, v in result.cell.options.items() if not k.startswith("app")}
    theirs = {k: v for k, v in other.cell.options.items() if (k, v) != ("app", "none")}
    return not other.cell.why_not and other.cell.metric == result.cell.metric and theirs == plain


def _difference(result: CellResult, without: CellResult) -> PairedResult | None:
    both_have = set(result.values) & set(without.values)
    common = sorted(k for k in both_have if result.folders[k] != without.folders[k])  # one run is no pair
    if not common:
        return None
    ours, theirs = [list(replicates_of({k: r.values[k] for k in common}).values()) for r in (result, without)]
    values = result.cell.value, without.cell.value
    published = None if values[0] is None or values[1] is None else values[0] - values[1]
    return PairedResult(result, published, paired_difference(ours, theirs), _signed_rank(ours, theirs))


def paired_difference(ours: Sequence[float], theirs: Sequence[float], level: float = 0.95) -> dict[str, float]:
    """Mean of ours - theirs, pair by pair, with a confidence interval (Student's t) and p; NaN for a single pair."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean, n = statistics.fmean(differences), len(differences)
    if n < 2:
        return {"mean": mean, "low": float("nan"), "high": float("nan"), "p": float("nan"), "n": n}
    error = statistics.stdev(differences) / n**0.5
    half = stats.t.ppf((1 + level) / 2, n - 1) * error
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error else float(mean == 0)
    return {"mean": mean, "low": mean - half, "high": mean + half, "p": p, "n": n}


def _signed_rank(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """p of Wilcoxon's signed-rank test; NaN without two pairs that differ."""
    if len(ours) < 2 or all(a == b for a, b in zip(ours, theirs, strict=True)):
        return float("nan")
    return float(stats.wilcoxon(ours, theirs).pvalue)
