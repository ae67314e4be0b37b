"""Figure of a run's nuclei: the best, median and worst field with found, split, merged, missed and false ones."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from skimage.segmentation import find_boundaries

from ...data.cohort import Cohort
from ...data.pixels import channels_of_row
from ...inference.ensemble import Ensemble
from ...inference.segmenter import Segmenter
from ...io.masks import read_labels
from ...scores.known_part import known_objects
from ...scores.nucleus_errors import FALSE, FOUND, MERGED, MISSED, SPLIT, nucleus_errors

COLORS = {FOUND: "#7fd17f", SPLIT: "#ffb347", MERGED: "#c58bff", MISSED: "#4da6ff", FALSE: "#ff5a4d"}
_LONGEST = (
    500  # pixels of a panel's longer edge: a larger field is cropped to its middle, so that outlines stay visible
)


def nuclei_figure(objects: dict[str, Any], segmenter: Segmenter, cohort: Cohort) -> Figure:
    """Draw true and predicted nuclei of the fields with the best, median and worst F1 at IoU 0.5.

    `objects` are the scores of one split, from `score_objects`, with at least one field.
    """
    rows = sorted(objects["fields"], key=lambda r: r["f1_50"], reverse=True)
    picked = {"best": rows[0], "median": rows[len(rows) // 2], "worst": rows[-1]}
    files = cohort.table.set_index("field")
    figure = Figure(figsize=(8, 11), layout="constrained")
    for axes, (rank, row) in zip(figure.subplots(3, 2), picked.items(), strict=True):
        file = files.loc[row["field"]]
        channels = channels_of_row(file, ())
        _draw_field(
            axes,
            f"{rank}: {row['field'][:34]}",
            row,
            image=segmenter.read(file.image, channels).mean(axis=0),  # in grey, so that the outlines' colours stand out
            truth=read_labels(file["mask"]),
            predicted=Ensemble([segmenter]).segment(file.image, channels),
        )
    figure.legend(handles=[Patch(color=c, label=n) for n, c in COLORS.items()], loc="outside lower center", ncols=5)
    return figure


def _draw_field(
    axes: list[Axes], title: str, row: dict[str, Any], image: np.ndarray, truth: np.ndarray, predicted: np.ndarray
) -> None:
    predicted, truth = known_objects(predicted, truth)
    errors = nucleus_errors(predicted, truth)
    panels = {
        f"{title}\ntruth: {row['n_true']} nuclei": (truth, errors.true),
        f"prediction: {row['n_predicted']}\nF1 at IoU 0.5: {row['f1_50']:.3f}": (predicted, errors.predicted),
    }
    window = tuple(slice(max(0, (n - _LONGEST) // 2), max(0, (n - _LONGEST) // 2) + _LONGEST) for n in image.shape)
    for ax, (text, (labels, names)) in zip(axes, panels.items(), strict=True):
        ax.imshow(outlined(image[window], labels[window], names), interpolation="nearest")
        ax.set_title(text, fontsize=9)
        ax.set_axis_off()


def outlined(image: np.ndarray, labels: np.ndarray, names: dict[int, str]) -> np.ndarray:
    """Return a picture (H, W, 3) of an image in [0, 1] with the outline of each nucleus in the colour of its name."""
    picture = np.repeat(0.8 * image[..., None], 3, axis=2)
    colors = np.zeros((labels.max() + 1, 3))
    for label, name in names.items():
        if label < len(colors):
            colors[label] = to_rgb(COLORS[name])
    rim = find_boundaries(labels, mode="inner")
    picture[rim] = colors[labels[rim]]
    return picture
