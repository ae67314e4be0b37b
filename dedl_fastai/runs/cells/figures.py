"""Figures of cells' types: the confusion matrix, and accuracy against the share of undecided cells."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..figures import save_figure


def draw_type_figures(metrics: Mapping[str, Any], path_of: Callable[[str], Path]) -> None:
    """Write confusion.png and, for probabilities, confidence.png: of the test cells, or else of another split."""
    split = next(s for s in ("test", "valid", "all", "train") if s in metrics)
    scores = metrics[split]
    title = f"{split}: {scores['n']} cells, F1 macro {scores['f1_macro']:.3f}"
    save_figure(confusion_figure(np.array(scores["confusion"]), metrics["classes"], title), path_of("confusion"))
    if "by_confidence" in scores:
        save_figure(confidence_figure(scores["by_confidence"], title), path_of("confidence"))


def confusion_figure(counts: np.ndarray, vocab: Sequence[str], title: str = "") -> Figure:
    """Counts (K, K + 1) of true and predicted types, coloured by the share of each row."""
    k = len(vocab)
    figure = Figure(figsize=(1.6 + 0.8 * (k + 1), 1.4 + 0.6 * k), layout="constrained")
    ax = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (i, j), n in np.ndenumerate(counts):
        ax.text(j, i, str(n), ha="center", va="center", color="white" if share[i, j] > 0.6 else "black", fontsize=8)
    ax.set_xticks(range(k + 1), [*vocab, "undecided"], rotation=35, ha="right")
    ax.set_yticks(range(k), vocab)
    ax.set(xlabel="predicted", ylabel="true", title=title)
    return figure


def confidence_figure(rows: Sequence[Mapping[str, float]], title: str = "") -> Figure:
    """Accuracy of the decided cells and share of the undecided ones over the least probability of a type."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    ax = figure.subplots()
    x = [row["min_confidence"] for row in rows]
    ax.plot(x, [row["accuracy_decided"] for row in rows], marker="o", label="accuracy of decided cells")
    ax.plot(x, [row["undecided"] for row in rows], marker="s", label="share undecided")
    ax.set(xlabel="least probability of a type", ylim=(0, 1.02), title=title)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return figure
