"""Paired comparison of arms over seeds: means, differences with intervals, as table, CSV and figure."""

import csv
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from scipy import stats

from ..experiment.figures import save_figure
from ..io.files import write_text

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
    """A line an arm: its means, and its paired differences to the baseline."""
    by_arm: dict[str, dict[int, Row]] = {}
    for row in rows:
        by_arm.setdefault(row["arm"], {})[row["seed"]] = row
    lines = []
    for arm, runs in by_arm.items():
        seeds = sorted(set(runs) & set(by_arm[baseline]))
        line: Row = {"arm": arm, "runs": len(seeds)}
        for name in ("iou", "iou_at_0.5"):
            values, reference = ([part[s][name] for s in seeds] for part in (runs, by_arm[baseline]))
            line[name] = statistics.fmean(values)
            line[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else float("nan")
            line[f"{name}_difference"] = paired_difference(values, reference)
        line["app_grad_ratio"] = statistics.fmean(runs[s]["app_grad_ratio"] for s in seeds)
        for name in ("train_seconds", "peak_mb"):
            line[f"{name}_ratio"] = statistics.fmean(runs[s][name] / by_arm[baseline][s][name] for s in seeds)
        lines.append(line)
    return lines


def write_report(rows: Sequence[Row], out: Path, baseline: str = "none") -> str:
    """Write report.md, report.csv and report.png below `out`; returns the Markdown."""
    lines = summarise(rows, baseline)
    text = markdown(lines, rows, baseline)
    write_text(out / "report.md", text)
    write_text(out / "report.csv", _csv(rows))
    save_figure(difference_figure(rows, lines, baseline), out / "report.png")
    return text


def markdown(lines: Sequence[Row], rows: Sequence[Row], baseline: str) -> str:
    """The table; differences with their 95 % interval."""
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
        cells += [f"{line['train_seconds_ratio']:.2f}", f"{line['peak_mb_ratio']:.2f}"]
        table.append(f"| {' | '.join(cells)} |")
    otsu = statistics.fmean(r["otsu_iou"] for r in rows)
    seeds = ", ".join(str(s) for s in sorted({r["seed"] for r in rows}))
    return "\n".join([*table, "", f"Otsu: {otsu:.4f}. Seeds: {seeds}. Time and memory: over those of {baseline}.", ""])


def _interval(d: dict[str, float]) -> str:
    return f"{d['mean']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
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
