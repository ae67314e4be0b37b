"""Tensor types of fields and nucleus masks, and `show_batch` and `show_results` for them."""

import torch
from fastai.torch_core import show_image
from fastai.vision.core import TensorImage, TensorMask
from fastai.vision.data import get_grid
from matplotlib.axes import Axes
from plum import dispatch

from ...io.masks import IGNORED
from ..tiles import Tile


class TensorField(TensorImage):
    """Tiles of a field: float32 (C, H, W), any number of channels, in [0, 1] before normalisation."""

    @classmethod
    def create(cls, tile: Tile) -> "TensorField":
        """Return the pixels of a tile."""
        return cls(torch.from_numpy(tile.pixels()))

    def show(self, ctx: Axes | None = None, **kwargs) -> Axes:
        """Draw the first channel in grey, or three channels as RGB."""
        image = self.as_subclass(torch.Tensor).clamp(0, 1)
        if image.shape[0] != 3:
            image, kwargs = image[0], {"cmap": "gray", "vmin": 0, "vmax": 1, **kwargs}
        return show_image(image, ctx=ctx, **kwargs)


class TensorNuclei(TensorMask):
    """Masks of nuclei: int64 (H, W), 0 background, 1 nucleus, `IGNORED` unknown."""

    @classmethod
    def create(cls, tile: Tile) -> "TensorNuclei":
        """Return the mask of a tile."""
        return cls(torch.from_numpy(tile.mask()).long())

    def show(self, ctx: Axes | None = None, color: str = "tab:orange", **kwargs) -> Axes:
        """Draw the outlines of the nuclei over the image of the axis."""
        mask = self.as_subclass(torch.Tensor) > 0
        if ctx is None:
            ctx = show_image(torch.zeros_like(mask, dtype=torch.uint8), cmap="gray")
        if mask.any() and not mask.all():
            ctx.contour(mask.numpy(), levels=[0.5], colors=[color], linewidths=0.8)
        return ctx


class TensorInstances(TensorNuclei):
    """Ids of nuclei: int64 (H, W), 0 background, -1 a nucleus whose extent is not in the mask, `IGNORED` unknown."""

    @classmethod
    def create(cls, tile: Tile) -> "TensorInstances":
        """Return the ids of a tile."""
        return cls(torch.from_numpy(tile.nuclei()).long())

    def mask(self) -> TensorNuclei:
        """Return the same as 0 (background), 1 (nucleus) and `IGNORED`."""
        ids = self.as_subclass(torch.Tensor)
        return TensorNuclei((ids != 0).long().masked_fill(ids == IGNORED, IGNORED))

    def show(self, ctx: Axes | None = None, color: str = "tab:orange", **kwargs) -> Axes:
        """Draw the outline of each nucleus over the image of the axis."""
        ids = self.as_subclass(torch.Tensor)
        ctx = ctx or show_image(torch.zeros_like(ids), cmap="gray")
        for value in ids.unique().tolist():
            if value not in (0, IGNORED):
                TensorNuclei((ids == value).long()).show(ctx=ctx, color=color)
        return ctx


@dispatch
def show_batch(x: TensorField, y: TensorNuclei, samples, ctxs=None, max_n=9, **kwargs):
    """Draw tiles with the true outlines."""
    ctxs = ctxs or get_grid(min(len(samples), max_n), figsize=kwargs.pop("figsize", None))
    for (tile, mask), ctx in zip(samples, ctxs, strict=False):
        mask.show(ctx=tile.show(ctx=ctx))
    return ctxs


@dispatch
def show_results(x: TensorField, y: TensorNuclei, samples, outs, ctxs=None, max_n=4, **kwargs):
    """Draw true outlines (orange, left) and predicted ones (cyan, right) over the tile."""
    n = min(len(samples), max_n)
    ctxs = ctxs or get_grid(
        n, ncols=1, double=True, figsize=kwargs.pop("figsize", (6, 3 * n)), title="Truth/Prediction"
    )
    for (tile, mask), (prediction, *_), left, right in zip(samples, outs, ctxs[::2], ctxs[1::2], strict=False):
        mask.show(ctx=tile.show(ctx=left))
        TensorNuclei(prediction).show(ctx=tile.show(ctx=right), color="tab:cyan")
    return ctxs
