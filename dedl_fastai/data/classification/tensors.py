"""Tensor type of pictures and decoded classes, and `show_batch` and `show_results` for classification."""

from collections.abc import Sequence
from typing import Any

import fastai.vision.learner  # noqa: F401  its plot_top_losses must be registered before ours, or it is used instead
import torch
from fastai.data.transforms import EncodedMultiCategorize
from fastai.torch_core import TensorMultiCategory, show_image
from fastai.vision.core import TensorImage
from fastai.vision.data import get_grid
from matplotlib.axes import Axes
from plum import dispatch

from ..colors import planes_to_rgb
from .items import ClfItem

RIGHT, WRONG, MISSED = "white", "#ff6b6b", "#ffc14d"


class TensorPicture(TensorImage):
    """Pictures of a field or tile: float32 (C, H, W), any number of planes, in [0, 1] before normalisation."""

    @classmethod
    def create(cls, item: ClfItem) -> "TensorPicture":
        """Return the picture of an item."""
        return cls(torch.from_numpy(item.pixels()))

    def show(self, ctx: Axes | None = None, **kwargs) -> Axes:
        """Draw one plane in grey, three planes as RGB, any other number as a composite in default colours."""
        image = self.as_subclass(torch.Tensor).detach().cpu().clamp(0, 1).numpy()
        if len(image) == 1:
            return show_image(image[0], ctx=ctx, **{"cmap": "gray", "vmin": 0, "vmax": 1, **kwargs})
        colored = image if len(image) == 3 else planes_to_rgb(image)
        return show_image(colored.transpose(1, 2, 0), ctx=ctx, **kwargs)


class ClassSet(list):
    """Names of the classes of an item; `values` maps every class to 1 or 0, or to its probability."""

    def __init__(self, names: Sequence[str], values: dict[str, float]):
        super().__init__(names)
        self.values = values

    def show(self, ctx: Axes, **kwargs: Any) -> Axes:
        """Write the names as the title of the axis."""
        return _titled(ctx, self, **kwargs)


class ClassTargets(EncodedMultiCategorize):
    """0/1 vectors of classes, which decode into a `ClassSet`; probabilities are kept."""

    def decodes(self, o: TensorMultiCategory) -> ClassSet:
        """Return the classes with a value of at least 0.5, and all values."""
        values = {name: float(v) for name, v in zip(self.vocab, o, strict=True)}
        return ClassSet([name for name, v in values.items() if v >= 0.5], values)


def _titled(ctx: Axes, names: Sequence[str], **kwargs: Any) -> Axes:
    ctx.set_title("\n".join(_wrapped(names)) or "none", fontsize=kwargs.get("fontsize", 8))
    return ctx


def _wrapped(names: Sequence[str], width: int = 24) -> list[str]:
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(name) + 2 <= width:
            lines[-1] += f"; {name}"
        else:
            lines.append(name)
    return lines


@dispatch
def show_batch(x: TensorPicture, y: TensorMultiCategory, samples, ctxs=None, max_n=9, **kwargs):
    """Draw pictures with the names of their classes."""
    ctxs = ctxs or get_grid(min(len(samples), max_n), figsize=kwargs.pop("figsize", None))
    for (picture, names), ctx in zip(samples, ctxs, strict=False):
        names.show(ctx=picture.show(ctx=ctx))
    return ctxs


@dispatch
def show_results(x: TensorPicture, y: TensorMultiCategory, samples, outs, ctxs=None, max_n=9, thresholds=0.5, **kwargs):
    """Draw pictures with the true classes as the title and the predicted classes on top: white if true, red if false.

    Missed classes are orange. If the loss decodes into probabilities, these are written after the names, and a class
    counts as predicted if it reaches its value in `thresholds` (one number, or one per class in vocabulary order).
    """
    ctxs = ctxs or get_grid(min(len(samples), max_n), figsize=kwargs.pop("figsize", None))
    for (picture, truth), (prediction, *_), ctx in zip(samples, outs, ctxs, strict=False):
        _titled(picture.show(ctx=ctx), truth)
        for i, (text, color) in enumerate(verdicts(truth, prediction.values, thresholds)):
            ctx.text(
                0.03,
                0.97 - 0.1 * i,
                text,
                color=color,
                fontsize=7,
                va="top",
                transform=ctx.transAxes,
                bbox=dict(facecolor="black", alpha=0.6, pad=1, edgecolor="none"),
            )
    return ctxs


def verdicts(
    truth: Sequence[str],
    values: dict[str, float],  # class -> probability, or 0 and 1
    thresholds: float | Sequence[float] = 0.5,
) -> list[tuple[str, str]]:
    """Return (text, colour) for every class that is present or predicted."""
    limits = [thresholds] * len(values) if isinstance(thresholds, int | float) else list(thresholds)
    is_probability = any(0 < v < 1 for v in values.values())
    lines = []
    for (name, value), limit in zip(values.items(), limits, strict=True):
        is_present, is_predicted = name in truth, value >= limit
        if not (is_present or is_predicted):
            continue
        text = f"{name} {value:.2f}" if is_probability else name
        color = RIGHT if is_present and is_predicted else WRONG if is_predicted else MISSED
        lines.append((text if is_predicted else f"{text} (missed)", color))
    return lines


@dispatch
def plot_top_losses(
    x: TensorPicture,
    y: TensorMultiCategory,
    samples,
    outs,
    raws,
    losses,
    nrows=None,
    ncols=None,
    figsize=None,
    **kwargs,
):
    """Pictures as `show_results` draws them, with the loss of each."""
    ctxs = get_grid(len(samples), nrows=nrows, ncols=ncols, figsize=figsize)
    show_results(x, y, samples, outs, ctxs=ctxs, max_n=len(samples), **kwargs)
    for ctx, loss in zip(ctxs, losses, strict=False):
        ctx.set_title(f"{ctx.get_title()}\nloss {loss.item():.3f}", fontsize=8)
