"""Paired comparison of arms over seeds: means, differences with intervals, as table, CSV and figure."""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from scipy import stats

from ...io.files import write_text
from ...runs.figures import save_figure

Row = dict[str, Any]


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


def summarise(rows: Sequence[Row], baseline: str = "none") -> list[Row]:
    """A line an arm: its means, and its paired differences to the baseline.

    Arms that have no seed in common with the baseline have no line; without a run of the baseline, no arm has one.
    Ratios of costs are over the seeds where both were measured, NaN where there is none.
    """
    by_arm: dict[str, dict[int, Row]] = {}
    for row in rows:
        by_arm.setdefault(row["arm"], {})[row["seed"]] = row
    references = by_arm.get(baseline, {})
    lines = []
    for arm, runs in by_arm.items():
        pairs = [(runs[seed], references[seed]) for seed in sorted(set(runs) & set(references))]
        if pairs:
            lines.append({"arm": arm, "runs": len(pairs), **_compared(pairs)})
    return lines


def _compared(pairs: Sequence[tuple[Row, Row]]) -> Row:
    """Means of the first of each pair, and differences and ratios to the second."""
    line: Row = {}
    for name in ("iou", "iou_at_0.5"):
        values, reference = ([row[name] for row in side] for side in zip(*pairs, strict=True))
        line[name] = statistics.fmean(values)
        line[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else float("nan")
        line[f"{name}_difference"] = paired_difference(values, reference)
    line["app_grad_ratio"] = statistics.fmean(ours["app_grad_ratio"] for ours, _ in pairs)
    for name in ("train_seconds", "peak_mb"):
        # a run that was killed just before its cost was written has no peak
        ratios = [ours[name] / theirs[name] for ours, theirs in pairs if ours.get(name) and theirs.get(name)]
        line[f"{name}_ratio"] = statistics.fmean(ratios) if ratios else float("nan")
    return line


def write_report(rows: Sequence[Row], out: Path, baseline: str = "none") -> str:
    """Write report.md, report.csv and report.png below `out`; returns the Markdown."""
    lines = summarise(rows, baseline)
    text = markdown(lines, rows, baseline)
    write_text(out / "report.md", text)
    write_text(out / "report.csv", _csv(rows))
    save_figure(difference_figure(rows, lines, baseline), out / "report.png")
    return text


def markdown(lines: Sequence[Row], rows: Sequence[Row], baseline: str) -> str:
    """The table, with 95 % intervals of the differences; below it, which arms are left out and why."""
    head = (
        f"| arm | runs | test IoU, tuned | difference to {baseline} | test IoU at 0.5 | difference to {baseline} "
        "| gradient ratio | time | memory |"
    )
    table = [head, "|---|---|---|---|---|---|---|---|---|"]
    for line in lines:
        cells = [line["arm"], str(line["runs"])]
        for name in ("iou", "iou_at_0.5"):
            cells.append(f"{line[name]:.4f} ± {line[f'{name}_sd']:.4f}")
            cells.append("" if line["arm"] == baseline else _interval(line[f"{name}_difference"]))
        cells.append(f"{line['app_grad_ratio']:.1e}" if line["app_grad_ratio"] else "")
        ratios = [line["train_seconds_ratio"], line["peak_mb_ratio"]]
        cells += ["" if math.isnan(r) else f"{r:.2f}" for r in ratios]
        table.append(f"| {' | '.join(cells)} |")
    otsu = statistics.fmean(r["otsu_iou"] for r in rows)
    seeds = ", ".join(str(s) for s in sorted({r["seed"] for r in rows}))
    facts = f"Otsu: {otsu:.4f}. Seeds: {seeds}. Time and memory: over those of {baseline}."
    return "\n".join([*table, "", *_left_out(lines, rows, baseline), facts, ""])


def _left_out(lines: Sequence[Row], rows: Sequence[Row], baseline: str) -> list[str]:
    """A paragraph for what has runs and no line in the table."""
    arms = list(dict.fromkeys(r["arm"] for r in rows))
    if baseline not in arms:
        return [f"{baseline} has no finished run: there is nothing to compare the others ({', '.join(arms)}) with.", ""]
    compared = {line["arm"] for line in lines}
    left_out = [arm for arm in arms if arm not in compared]
    return [part for arm in left_out for part in (f"{arm} has no seed in common with {baseline}: it is left out.", "")]


def _interval(d: dict[str, float]) -> str:
    return f"{d['mean']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)  # not every run has every cost
    writer = csv.DictWriter(out, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def difference_figure(rows: Sequence[Row], lines: Sequence[Row], baseline: str) -> Figure:
    """Each seed's difference to the baseline as a dot, their mean and 95 % interval as a bar."""
    others = [line for line in lines if line["arm"] != baseline]
    reference = {r["seed"]: r["iou"] for r in rows if r["arm"] == baseline}
    figure = Figure(figsize=(6.5, 1.2 + 0.45 * len(others)), layout="constrained")
    ax = figure.subplots()
    ax.axvline(0, color="0.6", linewidth=1)
    for y, line in enumerate(others):
        dots = [r["iou"] - reference[r["seed"]] for r in rows if r["arm"] == line["arm"] and r["seed"] in reference]
        d = line["iou_difference"]
        ax.plot(dots, [y] * len(dots), "o", color="0.6", markersize=4)
        ax.errorbar(d["mean"], y, xerr=[[d["mean"] - d["low"]], [d["high"] - d["mean"]]], fmt="s", color="tab:blue")
    ax.set_yticks(range(len(others)), [line["arm"] for line in others])
    ax.invert_yaxis()
    ax.set_xlabel(f"test IoU (tuned threshold) minus that of {baseline}, same seed")
    ax.grid(axis="x", alpha=0.3)
    return figure
