"""Figures of a classification run: precision-recall, calibration, label sets, and examples of predictions."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from ...inference.explain import display_picture
from ...scores.calibration import BINS, calibration_bins, calibration_error
from ...scores.label_metrics import varying_classes
from ...scores.thresholds import predicted_labels
from ..figures import save_figure
from .item_scores import Thresholds

_COLUMNS = 4  # panels in a row
_LINES = 7  # classes listed at a picture
_LONGEST = 500  # pixels of a picture's longer edge: more would not be visible
_SIGNS = "+ present and found   ! found, not present   - present, missed"


class Pictures(Protocol):
    """N pictures (H, W), (H, W, 3) or (C, H, W). They may be read on access: only those shown are accessed."""

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Return one picture."""


def draw_clf_figures(
    probabilities: np.ndarray,  # (N, K)
    truth: np.ndarray,  # (N, K) bool
    thresholds: Thresholds,
    vocab: Sequence[str],
    pictures: Pictures,
    names: Sequence[str],  # of the N items
    path_of: Callable[[str], Path],  # `RunFolder.figure`
) -> None:
    """Write precision_recall.png, calibration.png, label_sets.png and examples.png."""
    predicted = predicted_labels(probabilities, thresholds)
    examples = examples_figure(
        pictures, names, probabilities=probabilities, truth=truth, thresholds=thresholds, vocab=vocab
    )
    save_figure(precision_recall_figure(probabilities, truth, thresholds, vocab), path_of("precision_recall"))
    save_figure(calibration_figure(probabilities, truth, vocab), path_of("calibration"))
    save_figure(label_sets_figure(predicted, truth, vocab), path_of("label_sets"))
    save_figure(examples, path_of("examples"))


def precision_recall_figure(
    probabilities: np.ndarray, truth: np.ndarray, thresholds: Thresholds, vocab: Sequence[str]
) -> Figure:
    """One panel per class: precision over recall, the point at the threshold, and the line of a constant predictor."""
    truth = np.asarray(truth, dtype=bool)
    columns = min(_COLUMNS, len(vocab))
    rows = -(-len(vocab) // columns)
    figure = Figure(figsize=(3 * columns, 3.1 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in panels[len(vocab) :]:
        ax.remove()
    figure.suptitle(_SIGNS, fontsize=8)
    limits = np.broadcast_to(thresholds, len(vocab))
    for k, (ax, name) in enumerate(zip(panels, vocab, strict=False)):
        _draw_class(ax, name, probabilities[:, k], truth[:, k], threshold=limits[k])
    return figure


def _draw_class(ax: Axes, name: str, p: np.ndarray, y: np.ndarray, threshold: float) -> None:
    ax.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel="recall", ylabel="precision")
    ax.axhline(y.mean(), color="0.6", linestyle=":", label=f"constant {y.mean():.2f}")
    if y.any() and not y.all():
        precision, recall, _ = precision_recall_curve(y, p)
        ax.step(recall, precision, where="post", color="tab:blue", label=f"AP {average_precision_score(y, p):.2f}")
        predicted = predicted_labels(p, threshold)
        if predicted.any():
            point = (predicted & y).sum() / y.sum(), (predicted & y).sum() / predicted.sum()
            ax.plot(*point, "o", color="tab:orange", label=f"threshold {threshold:.2f}")
    else:
        ax.text(0.5, 0.5, "always present" if y.all() else "never present", ha="center", va="center")
    ax.set_title(f"{_short(name)} ({y.sum()} of {len(y)})", fontsize=9)
    ax.legend(frameon=False, fontsize=7, loc="lower left")


def calibration_figure(probabilities: np.ndarray, truth: np.ndarray, vocab: Sequence[str]) -> Figure:
    """Plot the observed frequency of labels against their predicted probability, for all classes and for each."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=bool)
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color="0.6", linestyle=":")
    for k in np.flatnonzero(varying_classes(y)).tolist():
        _draw_reliability(curve, p[:, k], y[:, k], label=_short(vocab[k]), linewidth=0.8, markersize=2, alpha=0.7)
    label = f"all classes, error {calibration_error(p, y):.3f}"
    _draw_reliability(curve, p, y, label=label, color="black", linewidth=2, markersize=5)
    curve.set(ylabel="share present", xlim=(0, 1), ylim=(-0.02, 1.02))
    curve.legend(frameon=False, fontsize=7)
    counts.bar((np.arange(BINS) + 0.5) / BINS, calibration_bins(p, y)[0], width=0.9 / BINS, color="0.6")
    counts.set(xlabel="predicted probability", ylabel="labels")
    return figure


def _draw_reliability(ax: Axes, p: np.ndarray, y: np.ndarray, **style: Any) -> None:
    n, expected, present = calibration_bins(p, y)
    ax.plot(expected[n > 0], present[n > 0], marker="o", **style)


def label_sets_figure(predicted: np.ndarray, truth: np.ndarray, vocab: Sequence[str], most: int = 10) -> Figure:
    """Count items by true (rows) and predicted label set (columns); rare sets are counted together."""
    true_sets, predicted_sets = (_set_names(labels, vocab) for labels in (truth, predicted))
    frequent = [name for name, _ in Counter(true_sets + predicted_sets).most_common()]
    kept = frequent if len(frequent) <= most else [*frequent[: most - 1], "other sets"]
    place = {name: min(i, len(kept) - 1) for i, name in enumerate(frequent)}
    table = np.zeros((len(kept), len(kept)), dtype=int)
    np.add.at(table, ([place[t] for t in true_sets], [place[p] for p in predicted_sets]), 1)
    figure = Figure(figsize=(3.2 + 0.5 * len(kept), 2.6 + 0.5 * len(kept)), layout="constrained")
    ax = figure.subplots()
    ax.imshow(table, cmap="Blues")
    for (row, column), n in np.ndenumerate(table):
        if n:
            ax.text(column, row, n, ha="center", va="center", color="white" if n > table.max() / 2 else "black")
    ticks = range(len(kept))
    ax.set_xticks(ticks, [shorten(k, 40, placeholder=" ...") for k in kept], rotation=60, ha="right", fontsize=8)
    ax.set_yticks(ticks, [shorten(k, 40, placeholder=" ...") for k in kept], fontsize=8)
    right = (np.asarray(predicted, dtype=bool) == np.asarray(truth, dtype=bool)).all(axis=1).mean()
    ax.set(xlabel="predicted", ylabel="true", title=f"label sets, {right:.0%} exactly right")
    return figure


def _set_names(labels: np.ndarray, vocab: Sequence[str]) -> list[str]:
    return [", ".join(name for name, present in zip(vocab, row, strict=True) if present) or "none" for row in labels]


def examples_figure(
    pictures: Pictures,
    names: Sequence[str],  # of the N items
    probabilities: np.ndarray,  # (N, K)
    truth: np.ndarray,  # (N, K) bool
    thresholds: Thresholds,
    vocab: Sequence[str],
    columns: int = _COLUMNS,
) -> Figure:
    """Three rows of pictures with their labels: right with the widest margin, wrong by the most, and least certain."""
    picked = pick_examples(probabilities, truth, thresholds, columns)
    figure = Figure(figsize=(2.7 * columns, 3 * (2.9 + 0.14 * min(_LINES, len(vocab)))), layout="constrained")
    grid = figure.subplots(3, columns, squeeze=False)
    figure.suptitle(_SIGNS, fontsize=8)
    limits = np.broadcast_to(thresholds, len(vocab))
    for axes, (group, items) in zip(grid, picked.items(), strict=True):
        for ax in axes:
            ax.set_axis_off()
        for ax, i in zip(axes, items, strict=False):
            shown = display_picture(pictures[i])
            step = -(-max(shown.shape) // _LONGEST)
            ax.imshow(shown[::step, ::step])
            below = label_lines(np.asarray(probabilities[i]), np.asarray(truth[i], dtype=bool), limits, vocab)
            ax.set_title(f"{group}: {_short(names[i])}\n{below}", fontsize=7, loc="left", family="monospace")
    return figure


def pick_examples(probabilities: np.ndarray, truth: np.ndarray, thresholds: Thresholds, n: int) -> dict[str, list[int]]:
    """Return up to `n` items of three groups: all labels correct by the widest margin, most wrong, least certain."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=bool)
    margin = np.where(y, 1, -1) * (p - np.asarray(thresholds))  # distance to the threshold, positive if right
    right = (predicted_labels(p, thresholds) == y).all(axis=1)
    orders: dict[str, Sequence[int] | np.ndarray] = {
        "right": [i for i in np.argsort(-margin.min(axis=1), kind="stable") if right[i]],
        "wrong": [i for i in np.argsort(margin.min(axis=1), kind="stable") if not right[i]],
        "least sure": np.argsort(np.abs(margin).min(axis=1), kind="stable"),
    }
    return {group: [int(i) for i in order[:n]] for group, order in orders.items()}


def label_lines(p: np.ndarray, y: np.ndarray, thresholds: np.ndarray, vocab: Sequence[str]) -> str:
    """One line per class: `+` found, `!` found but not present, `-` missed, else blank; most probable first."""
    predicted = predicted_labels(p, thresholds)
    listed = np.argsort(-(p + 2 * (predicted | y)), kind="stable")[:_LINES]
    signs = {(True, True): "+", (True, False): "!", (False, True): "-", (False, False): " "}
    return "\n".join(f"{signs[bool(predicted[k]), bool(y[k])]} {p[k]:.2f} {_short(vocab[k])}" for k in listed)


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:23]}..."
