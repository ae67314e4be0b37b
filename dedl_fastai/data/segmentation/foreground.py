"""`ForegroundDL`: a loader that draws the tiles of an epoch so that those with many nuclei come more often."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from fastai.data.core import TfmdDL

from ..tiles import Tile

SHARE = 1 / 3  # of the tiles are drawn for their nuclei: nnU-Net's share of patches with foreground


class ForegroundDL(TfmdDL):
    """fastai's loader of tiles, which draws as many as there are where fastai's shuffles them.

    Two thirds are any tile, and a third are the tile of any foreground pixel, so that a tile with twice the foreground
    is drawn twice as often. Tiles are drawn with replacement, by the generator that would shuffle them, which depends
    on the seed alone. Loaders that do not shuffle, as in validation, give every tile once.
    """

    @cached_property
    def chances(self) -> list[float]:
        """The probability of each item in a draw."""
        return chances_of(self.dataset.items).tolist()

    def shuffle_fn(self, idxs: Sequence[int]) -> list[int]:
        """Draw as many items as there are; fastai calls this in place of shuffling."""
        return self.rng.choices(idxs, self.chances, k=len(idxs))


def chances_of(tiles: Sequence[Tile]) -> np.ndarray:
    """Return the probabilities with which tiles are drawn; they are equal if no tile has foreground."""
    foreground = np.array([np.count_nonzero(tile.mask() > 0) for tile in tiles], dtype=float)
    uniform = np.full(len(tiles), 1 / max(1, len(tiles)))
    if not foreground.any():
        return uniform
    return (1 - SHARE) * uniform + SHARE * foreground / foreground.sum()
