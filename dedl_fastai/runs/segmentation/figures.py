"""Figures of a segmentation run: the threshold curve, and the best, median and worst fields."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...data.cohort import Cohort
from ...data.pixels import channels_of_row
from ...inference.segmenter import Segmenter
from ...io.masks import IGNORED, read_mask
from ...training.run_folder import RunFolder
from ..figures import curves_figure, save_figure
from .nuclei_figure import nuclei_figure

TRUE, FALSE, MISSED = (1.0, 1.0, 1.0), (0.90, 0.35, 0.10), (0.20, 0.55, 0.95)
_LONGEST = 1000  # pixels of a panel's longer edge: more would not be visible


def draw_seg_figures(run: RunFolder, metrics: dict[str, Any], segmenter: Segmenter, cohort: Cohort) -> None:
    """Write curves.png, threshold.png and examples.png to the run's figures/; nuclei.png if masks hold ids."""
    save_figure(curves_figure(run.history()), run.figure("curves"))
    save_figure(threshold_figure(metrics["threshold_tuning"]), run.figure("threshold"))
    save_figure(examples_figure(metrics, segmenter, cohort), run.figure("examples"))
    objects = metrics["objects"].get("test") or metrics["objects"]["valid"]
    if objects["n_fields"]:
        save_figure(nuclei_figure(objects, segmenter, cohort), run.figure("nuclei"))


def threshold_figure(tuning: dict[str, Any]) -> Figure:
    """Plot the IoU of the validation fields over the threshold; 0.5 and the tuned threshold are marked."""
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
    """Draw the best, median and worst field of the test (else validation) split: image, truth, prediction."""
    split = metrics["fields"][-1]["split"]
    rows = sorted((r for r in metrics["fields"] if r["split"] == split), key=lambda r: r["iou"], reverse=True)
    picked = {"best": rows[0], "median": rows[len(rows) // 2], "worst": rows[-1]}
    files = cohort.table.set_index("field")
    figure = Figure(figsize=(11, 9.6), layout="constrained")
    for axes, (rank, row) in zip(figure.subplots(3, 3), picked.items(), strict=True):
        _draw_field(axes, rank, row, files=files.loc[row["field"]], segmenter=segmenter)
    figure.suptitle(f"{split} fields at threshold {segmenter.threshold:g}:  white right, orange false, blue missed")
    return figure


def _draw_field(axes: list[Axes], rank: str, row: dict[str, Any], files: pd.Series, segmenter: Segmenter) -> None:
    pixels, mask = segmenter.read(files.image, channels_of_row(files, ())), read_mask(files["mask"])
    truth = mask > 0
    predicted = segmenter.mask(pixels) & (mask != IGNORED)
    step = max(1, -(-max(truth.shape) // _LONGEST))
    panels = {
        f"{rank}: {_short(row['field'])}": _as_picture(pixels),
        f"truth ({truth.mean():.0%} nuclei)": truth,
        f"prediction (IoU {row['iou']:.3f})": error_colours(predicted, truth),
    }
    for ax, (title, panel) in zip(axes, panels.items(), strict=True):
        ax.imshow(panel[::step, ::step], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()


def _as_picture(pixels: np.ndarray) -> np.ndarray:
    """Pixels (C, H, W) as `show_batch` draws tiles: three channels in colours (H, W, 3), else the first in grey."""
    return pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[0]


def error_colours(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) of a predicted mask: true positives white, false orange, missed pixels blue."""
    picture = np.zeros((*truth.shape, 3))
    for where, colour in ((predicted & truth, TRUE), (predicted & ~truth, FALSE), (~predicted & truth, MISSED)):
        picture[where] = colour
    return picture


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:31]}..."
