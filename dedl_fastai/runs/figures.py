"""Figures that all runs share: the learning curves, and `save_figure`, which writes a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..io.files import written_whole


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure as PNG; if writing fails, no partial file is left."""
    with written_whole(path) as tmp:
        figure.savefig(tmp, dpi=dpi, format="png")


def curves_figure(rows: Sequence[Mapping[str, str]], metrics: Sequence[str] = ("iou_tuned", "iou", "dice")) -> Figure:
    """Plot losses, validation metrics and learning rate over the epochs, from the rows of history.csv."""
    epochs = [int(r["epoch"]) + 1 for r in rows]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = {"loss": ["train_loss", "valid_loss"], "validation": list(metrics), "learning rate": ["lr"]}
    for ax, (title, names) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name in names:
            ax.plot(epochs, [float(r[name]) for r in rows], marker="o", markersize=3, label=name.replace("_", " "))
        ax.set(title=title, xlabel="epoch")
        ax.grid(alpha=0.3)
        if len(names) > 1:
            ax.legend(frameon=False)
    return figure
