"""The tables of a report: values next to the published ones, paired differences, trivial predictors, runs and costs."""

import statistics
from collections.abc import Mapping, Sequence

from ..paper.tables import PaperTable
from .numbers import CellResult, costs, mean_and_sd
from .pairs import PairedResult, compared
from .text_tables import NONE, TextTable, shown, shown_difference, shown_p


def main_table(table: PaperTable, results: Sequence[CellResult]) -> TextTable:
    """Published and measured value of each cell, and further numbers; if nothing is published, without such columns."""
    heads = ["row", "column", "published", "here", "difference", *(b.column for b in table.beside), "runs"]
    rows = [
        [
            r.row.label,
            r.cell.column,
            r.cell.printed,
            shown(r.mean, r.sd, r.cell.unit),
            shown_difference(r.difference, r.cell.unit),
            *(shown(*mean_and_sd(r.beside.get(b, {})), b.unit) for b in table.beside),
            _runs(r),
        ]
        for r in results
    ]
    if not table.is_published:
        return _without(TextTable(table.metric, heads, rows), "published", "difference")
    return TextTable(f"{table.metric}, published and here", heads, rows)


def _without(table: TextTable, *heads: str) -> TextTable:
    kept = [i for i, head in enumerate(table.heads) if head not in heads]
    rows = [[row[i] for i in kept] for row in table.rows]
    return TextTable(table.title, [table.heads[i] for i in kept], rows, table.name)


def _runs(r: CellResult) -> str:
    """Number of finished runs: "5", "2/5" if some are missing, "2/5, 1 failed"."""
    if not r.asked:
        return f"not run: {r.cell.why_not}" if r.cell.why_not else "not asked for"
    count = str(r.asked) if len(r.values) == r.asked else f"{len(r.values)}/{r.asked}"
    return f"{count}, {r.failed} failed" if r.failed else count


def runs_table(results: Sequence[CellResult]) -> TextTable:
    """Value of every finished run in full, for other programs."""
    rows = [
        [r.row.label, r.cell.column, metric, str(seed), str(fold), repr(value), r.folders[seed, fold].name]
        for r in results
        for metric, values in ((r.cell.metric, r.values), *((b.metric, v) for b, v in r.beside.items()))
        for (seed, fold), value in sorted(values.items())
    ]
    heads = ["row", "column", "metric", "seed", "fold", "value", "run"]
    return TextTable("The runs", heads, rows, "-runs")


def paired_table(table: PaperTable, pairs: Sequence[PairedResult]) -> TextTable:
    """Paired differences with intervals and p values, next to the published differences if there are any."""
    rows = []
    for p in pairs:
        unit, h = p.result.cell.unit, p.here
        interval = NONE
        if h["n"] > 1:
            interval = f"{shown_difference(h['low'], unit)} to {shown_difference(h['high'], unit)}"
        here = [shown_difference(h["mean"], unit), interval, shown_p(h["p"]), shown_p(p.signed_rank_p), str(h["n"])]
        rows.append([p.result.row.label, p.result.cell.column, shown_difference(p.published, unit), *here])
    heads = ["row", "column", "published", "here", "95 % interval", "p, t test", "p, signed rank", "pairs"]
    paired = TextTable(f"{compared(table)}, paired", heads, rows, "-paired")
    return paired if table.is_published else _without(paired, "published")


def baseline_table(trivial: Mapping[str, Sequence[float]]) -> TextTable:
    """Mean scores of the trivial predictors."""
    rows = [
        [name, shown(statistics.fmean(v), statistics.stdev(v) if len(v) > 1 else None, ""), str(len(v))]
        for name, v in trivial.items()
    ]
    return TextTable("Trivial predictors on the same items", ["baseline", "here", "runs"], rows, "-baselines")


def cost_table(title: str, name: str, results: Sequence[CellResult]) -> TextTable:
    """Time and peak memory of the runs; columns of a row that show different metrics of the same runs share a line."""
    rows = []
    for i, r in enumerate(results):
        if not r.folders or any(_have_the_same_runs(r, earlier) for earlier in results[:i]):
            continue
        c = costs(r)
        seconds = c["train_seconds"]
        spread = statistics.stdev(seconds) if len(seconds) > 1 else None
        memory = [f"{max(c[n])} MB" if c[n] else NONE for n in ("peak_mb", "peak_gpu_mb")]
        time = shown(statistics.fmean(seconds), spread, "s") if seconds else NONE
        is_shared = any(_have_the_same_runs(r, later) for later in results[i + 1 :])
        rows.append([r.row.label, "all" if is_shared else r.cell.column, str(len(r.folders)), time, *memory])
    heads = ["row", "column", "runs", "training", "peak memory", "peak GPU memory"]
    return TextTable(title, heads, rows, f"-{name}")


def _have_the_same_runs(a: CellResult, b: CellResult) -> bool:
    """Whether two cells of a row show different metrics of the same runs."""
    same_row = (a.row.key, a.cell.options, a.folders) == (b.row.key, b.cell.options, b.folders)
    return same_row and a.cell.metric != b.cell.metric
