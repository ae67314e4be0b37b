"""Figures of a segmentation run: the threshold curve, and the best, median and worst fields."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...data.cohort import Cohort
from ...inference.segmenter import Segmenter
from ...io.masks import read_mask
from ...training.run_folder import RunFolder
from ..figures import curves_figure, save_figure

TRUE, FALSE, MISSED = (1.0, 1.0, 1.0), (0.90, 0.35, 0.10), (0.20, 0.55, 0.95)
_LONGEST = 1000  # pixels of a panel's longer edge: more is not seen


def draw_figures(run: RunFolder, metrics: dict[str, Any], segmenter: Segmenter, cohort: Cohort) -> None:
    """Write curves.png, threshold.png and examples.png below the run's figures/."""
    save_figure(curves_figure(run.history()), run.figure("curves"))
    save_figure(threshold_figure(metrics["threshold_tuning"]), run.figure("threshold"))
    save_figure(examples_figure(metrics, segmenter, cohort), run.figure("examples"))


def threshold_figure(tuning: dict[str, Any]) -> Figure:
    """IoU of the validation fields over the threshold, with 0.5 and the tuned one marked."""
    figure = Figure(figsize=(4.5, 3.4), layout="constrained")
    ax = figure.subplots()
    ax.plot(tuning["curve"]["threshold"], tuning["curve"]["iou"], color="tab:blue")
    ax.axvline(0.5, color="0.6", linestyle=":", label=f"0.5: {tuning['iou_at_0.5']:.3f}")
    ax.axvline(tuning["value"], color="tab:orange", label=f"{tuning['value']:g}: {tuning['iou']:.3f}")
    ax.set(xlabel="probability threshold", ylabel="pooled IoU, validation fields", ylim=(0, 1))
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="lower center")
    return figure


def examples_figure(metrics: dict[str, Any], segmenter: Segmenter, cohort: Cohort) -> Figure:
    """Best, median and worst field of the test part (else of the validation part): image, truth, prediction."""
    split = metrics["fields"][-1]["split"]
    rows = sorted((r for r in metrics["fields"] if r["split"] == split), key=lambda r: r["iou"], reverse=True)
    picked = {"best": rows[0], "median": rows[len(rows) // 2], "worst": rows[-1]}
    files = cohort.table.set_index("field")
    figure = Figure(figsize=(11, 9.6), layout="constrained")
    for axes, (rank, row) in zip(figure.subplots(3, 3), picked.items(), strict=True):
        _draw_field(axes, rank, row, files.loc[row["field"]], segmenter)
    figure.suptitle(f"{split} fields at threshold {segmenter.threshold:g}:  white right, orange false, blue missed")
    return figure


def _draw_field(axes: list[Axes], rank: str, row: dict[str, Any], files, segmenter: Segmenter) -> None:
    pixels, truth = segmenter.read(files.image), read_mask(files["mask"]).astype(bool)
    guess = segmenter.mask(pixels)
    step = max(1, -(-max(truth.shape) // _LONGEST))
    panels = {
        f"{rank}: {_short(row['field'])}": pixels[0],
        f"truth ({truth.mean():.0%} nuclei)": truth,
        f"prediction (IoU {row['iou']:.3f})": error_colours(guess, truth),
    }
    for ax, (title, panel) in zip(axes, panels.items(), strict=True):
        ax.imshow(panel[::step, ::step], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()


def error_colours(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(H, W, 3) picture of a predicted mask: white where it is right, orange where false, blue where missed."""
    picture = np.zeros((*truth.shape, 3))
    for where, colour in ((guess & truth, TRUE), (guess & ~truth, FALSE), (~guess & truth, MISSED)):
        picture[where] = colour
    return picture


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:31]}..."
