"""Figures of a classification run: precision-recall, calibration, label sets, right, wrong and unsure pictures."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import shorten

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from ...inference.explain import display_picture
from ...scores.calibration import BINS, calibration_bins, calibration_error
from ...scores.label_metrics import varying_classes
from ...scores.thresholds import predicted_labels
from ..figures import save_figure

_COLUMNS = 4  # panels beside each other
_LINES = 7  # classes below a picture
_LONGEST = 500  # pixels of a picture's longer edge: more is not seen
Thresholds = np.ndarray | Sequence[float] | float


def draw_clf_figures(
    probabilities: np.ndarray,  # (N, K)
    truth: np.ndarray,  # (N, K) bool
    thresholds: Thresholds,
    vocab: Sequence[str],
    pictures: Sequence[np.ndarray],  # N of (H, W), (H, W, 3) or (C, H, W); only those shown are taken
    names: Sequence[str],  # of the N items
    path_of: Callable[[str], Path],  # RunFolder.figure
) -> None:
    """Write precision_recall.png, calibration.png, label_sets.png and examples.png."""
    guess = predicted_labels(probabilities, thresholds)
    save_figure(precision_recall_figure(probabilities, truth, thresholds, vocab), path_of("precision_recall"))
    save_figure(calibration_figure(probabilities, truth, vocab), path_of("calibration"))
    save_figure(label_sets_figure(guess, truth, vocab), path_of("label_sets"))
    save_figure(examples_figure(pictures, names, probabilities, truth, thresholds, vocab), path_of("examples"))


def precision_recall_figure(
    probabilities: np.ndarray, truth: np.ndarray, thresholds: Thresholds, vocab: Sequence[str]
) -> Figure:
    """A panel a class: precision over recall, the threshold in use, and the constant predictor's line."""
    truth = np.asarray(truth, dtype=bool)
    columns = min(_COLUMNS, len(vocab))
    rows = -(-len(vocab) // columns)
    figure = Figure(figsize=(3 * columns, 3.1 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in panels[len(vocab) :]:
        ax.remove()
    figure.suptitle("+ present and found   ! found, not present   - present, missed", fontsize=8)
    limits = np.broadcast_to(thresholds, len(vocab))
    for k, (ax, name) in enumerate(zip(panels, vocab, strict=False)):
        _draw_class(ax, name, probabilities[:, k], truth[:, k], limits[k])
    return figure


def _draw_class(ax: Axes, name: str, p: np.ndarray, y: np.ndarray, threshold: float) -> None:
    ax.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel="recall", ylabel="precision")
    ax.axhline(y.mean(), color="0.6", linestyle=":", label=f"constant {y.mean():.2f}")
    if y.any() and not y.all():
        precision, recall, _ = precision_recall_curve(y, p)
        ax.step(recall, precision, where="post", color="tab:blue", label=f"AP {average_precision_score(y, p):.2f}")
        guess = predicted_labels(p, threshold)
        if guess.any():
            point = (guess & y).sum() / y.sum(), (guess & y).sum() / guess.sum()
            ax.plot(*point, "o", color="tab:orange", label=f"threshold {threshold:.2f}")
    else:
        ax.text(0.5, 0.5, "always present" if y.all() else "never present", ha="center", va="center")
    ax.set_title(f"{_short(name)} ({y.sum()} of {len(y)})", fontsize=9)
    ax.legend(frameon=False, fontsize=7, loc="lower left")


def calibration_figure(probabilities: np.ndarray, truth: np.ndarray, vocab: Sequence[str]) -> Figure:
    """How often a label was there over how probable it was said to be: all classes, each class, and the counts."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=bool)
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color="0.6", linestyle=":")
    for k in np.flatnonzero(varying_classes(y)):
        _draw_reliability(curve, p[:, k], y[:, k], label=_short(vocab[k]), linewidth=0.8, markersize=2, alpha=0.7)
    label = f"all classes, error {calibration_error(p, y):.3f}"
    _draw_reliability(curve, p, y, label=label, color="black", linewidth=2, markersize=5)
    curve.set(ylabel="share present", xlim=(0, 1), ylim=(-0.02, 1.02))
    curve.legend(frameon=False, fontsize=7)
    counts.bar((np.arange(BINS) + 0.5) / BINS, calibration_bins(p, y)[0], width=0.9 / BINS, color="0.6")
    counts.set(xlabel="predicted probability", ylabel="labels")
    return figure


def _draw_reliability(ax: Axes, p: np.ndarray, y: np.ndarray, **style) -> None:
    n, expected, present = calibration_bins(p, y)
    ax.plot(expected[n > 0], present[n > 0], marker="o", **style)


def label_sets_figure(predicted: np.ndarray, truth: np.ndarray, vocab: Sequence[str], most: int = 10) -> Figure:
    """Items by their true label set (rows) and their predicted one (columns); rare sets are counted together."""
    true, guess = (_set_names(m, vocab) for m in (truth, predicted))
    frequent = [name for name, _ in Counter(true + guess).most_common()]
    kept = frequent if len(frequent) <= most else [*frequent[: most - 1], "other sets"]
    place = {name: min(i, len(kept) - 1) for i, name in enumerate(frequent)}
    table = np.zeros((len(kept), len(kept)), dtype=int)
    np.add.at(table, ([place[t] for t in true], [place[g] for g in guess]), 1)
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
    return [", ".join(name for name, yes in zip(vocab, row, strict=True) if yes) or "none" for row in labels]


def examples_figure(
    pictures: Sequence[np.ndarray],  # N of (H, W), (H, W, 3) or (C, H, W); only those shown are taken
    names: Sequence[str],  # of the N items
    probabilities: np.ndarray,  # (N, K)
    truth: np.ndarray,  # (N, K) bool
    thresholds: Thresholds,
    vocab: Sequence[str],
    columns: int = _COLUMNS,
) -> Figure:
    """Three rows of pictures: surest of the right ones, worst of the wrong ones, least sure; with their labels."""
    picked = pick_examples(probabilities, truth, thresholds, columns)
    figure = Figure(figsize=(2.7 * columns, 3 * (2.9 + 0.14 * min(_LINES, len(vocab)))), layout="constrained")
    grid = figure.subplots(3, columns, squeeze=False)
    figure.suptitle("+ present and found   ! found, not present   - present, missed", fontsize=8)
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
    """Up to `n` items of each group: right (all labels) with the widest margin, wrong by the most, least sure."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=bool)
    margin = np.where(y, 1, -1) * (p - np.asarray(thresholds))  # how far on the right side of its threshold
    right = (predicted_labels(p, thresholds) == y).all(axis=1)
    orders = {
        "right": [i for i in np.argsort(-margin.min(axis=1), kind="stable") if right[i]],
        "wrong": [i for i in np.argsort(margin.min(axis=1), kind="stable") if not right[i]],
        "least sure": np.argsort(np.abs(margin).min(axis=1), kind="stable"),
    }
    return {group: [int(i) for i in order[:n]] for group, order in orders.items()}


def label_lines(p: np.ndarray, y: np.ndarray, thresholds: np.ndarray, vocab: Sequence[str]) -> str:
    """A line a class: `+` found, `!` found but not there, `-` missed, blank rightly absent; most probable first."""
    guess = predicted_labels(p, thresholds)
    told = np.argsort(-(p + 2 * (guess | y)), kind="stable")[:_LINES]
    signs = {(True, True): "+", (True, False): "!", (False, True): "-", (False, False): " "}
    return "\n".join(f"{signs[bool(guess[k]), bool(y[k])]} {p[k]:.2f} {_short(vocab[k])}" for k in told)


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:23]}..."
