"""The figure of a table: published and measured values with their spreads, and paired differences."""

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..paper.tables import PaperTable
from .numbers import CellResult
from .pairs import PairedResult, compared

_PUBLISHED, _HERE = "0.45", "tab:blue"
_LINES = (":", "--", "-.", (0, (5, 1)))


def table_figure(
    table: PaperTable,
    results: Sequence[CellResult],
    pairs: Sequence[PairedResult],
    trivial: Mapping[str, Sequence[float]],
) -> Figure:
    """Draw one line per cell: published (grey) and measured (blue) with standard deviations, and a dot per run.

    Differences are drawn in a panel next to it; means of trivial predictors are vertical lines. Cells with another
    unit than the first have no place on its axis and are left out.
    """
    shown = [r for r in results if r.cell.value is not None or r.values]
    shown = [r for r in shown if r.cell.unit == shown[0].cell.unit]
    if table.curve:
        return _curves(table, shown, trivial)
    pairs = [p for p in pairs if any(p.result is r for r in shown)]
    figure = Figure(figsize=(11 if pairs else 8, 1.6 + 0.3 * max(len(shown), 1)), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=(3, 2), squeeze=False)[0] if pairs else [figure.subplots()]
    _draw_values(axes[0], table, shown, trivial)
    if pairs:
        _draw_differences(axes[1], table, pairs, shown)
    return figure


def _curves(table: PaperTable, shown: Sequence[CellResult], trivial: Mapping[str, Sequence[float]]) -> Figure:
    """Draw one line per column over the numbers that the rows stand for, with a dot per run."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for column in table.columns:
        results = [r for r in shown if r.cell.column == column and r.values]
        if not results:
            continue
        x, means = [float(r.row.key) for r in results], [statistics.fmean(r.values.values()) for r in results]
        (line,) = ax.plot(x, means, "o-", markersize=4, label=column)
        ax.errorbar(x, means, yerr=[r.sd or 0 for r in results], fmt="none", color=line.get_color(), capsize=2)
        for place, r in zip(x, results, strict=True):
            ax.plot([place] * len(r.values), list(r.values.values()), ".", color=line.get_color(), alpha=0.4)
    for (name, values), style in zip(trivial.items(), _LINES, strict=False):
        ax.axhline(statistics.fmean(values), color="tab:orange", linestyle=style, linewidth=1, label=name)
    ax.set_xscale("log")
    ticks = [float(row.key) for row in table.rows]
    ax.set_xticks(ticks, [row.label for row in table.rows], minor=False)
    ax.minorticks_off()
    ax.set_xlabel(table.curve)
    ax.set_ylabel(table.metric)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, fontsize=8)
    return figure


def _draw_values(
    ax: Axes, table: PaperTable, shown: Sequence[CellResult], trivial: Mapping[str, Sequence[float]]
) -> None:
    for y, r in enumerate(shown):
        runs = list(r.values.values())
        ax.plot(runs, [y + 0.15] * len(runs), ".", color=_HERE, alpha=0.4, markersize=5)
        if r.cell.value is not None:
            ax.errorbar(r.cell.value, y - 0.15, xerr=r.cell.sd, fmt="s", color=_PUBLISHED, markersize=5, capsize=2)
        if r.mean is not None:
            ax.errorbar(r.mean, y + 0.15, xerr=r.sd, fmt="o", color=_HERE, markersize=5, capsize=2)
    if table.is_published:
        ax.plot([], [], "s", color=_PUBLISHED, label="published")
    ax.plot([], [], "o", color=_HERE, label="here")
    for (name, values), style in zip(trivial.items(), _LINES, strict=False):
        ax.axvline(statistics.fmean(values), color="tab:orange", linestyle=style, linewidth=1, label=name)
    ax.set_yticks(range(len(shown)), [f"{r.row.label}: {r.cell.column}" for r in shown], fontsize=8)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    unit = next((r.cell.unit for r in shown if r.cell.unit), "")
    ax.set_xlabel(f"{table.metric} ({unit})" if unit else table.metric)
    ax.grid(axis="x", alpha=0.3)
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=6, frameon=False, fontsize=8)


def _draw_differences(ax: Axes, table: PaperTable, pairs: Sequence[PairedResult], shown: Sequence[CellResult]) -> None:
    place = {id(r): y for y, r in enumerate(shown)}
    ax.axvline(0, color="0.6", linewidth=1)
    for pair in pairs:
        y, h = place[id(pair.result)], pair.here
        if pair.published is not None:
            ax.plot(pair.published, y - 0.15, "s", color=_PUBLISHED, markersize=5)
        half = [[h["mean"] - h["low"]], [h["high"] - h["mean"]]] if h["n"] > 1 else None
        ax.errorbar(h["mean"], y + 0.15, xerr=half, fmt="o", color=_HERE, markersize=5, capsize=2)
    ax.set_yticks(range(len(shown)), [])
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.locator_params(axis="x", nbins=6)  # the panel is narrow
    ax.set_xlabel(f"{compared(table)}, paired; 95 % interval")
    ax.grid(axis="x", alpha=0.3)
