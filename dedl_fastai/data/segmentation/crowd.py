"""Batch augmentation that packs nuclei: a tile gets those of its own mirror images, which touch as in tissue."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fastai.data.transforms import Transform

from ...errors import UserError
from .tensors import TensorField, TensorInstances


class CrowdAugment(Transform):
    """Add nuclei of mirrored and turned copies of a tile to the tile, where they overlap little with those it has.

    A share `p` of the tiles of a batch is changed; each gets nuclei of `copies` copies, those of which at most
    `overlap` of the area is taken already. What is taken stays: the added nuclei lie behind. Their brightness is
    changed by a factor of up to e^0.4, and pixels are the larger of both. Batches whose targets are masks without ids
    stay as they are. It runs after the geometry and before the intensities; all random numbers come from torch's
    generator on the CPU. (Copy-paste augmentation, Ghiasi et al. 2021, within a tile.)
    """

    split_idx, order = 0, 31

    def __init__(self, p: float = 0.5, copies: int = 3, overlap: float = 0.15):
        super().__init__()
        if not (0 <= p <= 1 and copies >= 0 and 0 <= overlap < 1):
            raise UserError(f"p={p}, copies={copies}, overlap={overlap}: shares from 0 to 1 and a number are needed.")
        self.p, self.copies, self.overlap = p, copies, overlap

    def __call__(self, b: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        """Return a batch (pixels, ids) with more nuclei, if it is one of the training."""
        if split_idx != self.split_idx or not (isinstance(b, tuple) and isinstance(b[1], TensorInstances)):
            return b
        pixels, ids = (part.as_subclass(torch.Tensor).clone() for part in b[:2])
        for i in range(len(pixels)):
            if torch.rand(()) < self.p:
                for _ in range(self.copies):
                    pixels[i], ids[i] = self._crowded(pixels[i], ids[i])
        return type(b)((TensorField(pixels), TensorInstances(ids), *b[2:]))

    def _crowded(self, pixels: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A tile (C, t, t) and its ids (t, t) with the nuclei of one copy."""
        turned, guests = _turned(pixels, ids, int(torch.randint(1, 8, ())))
        added = _fitting(guests.cpu().numpy(), (ids != 0).cpu().numpy(), self.overlap)
        gain = float(torch.exp(0.4 * (torch.rand(()) * 2 - 1)))
        where = torch.from_numpy(added).to(pixels)[None, None]
        soft = F.avg_pool2d(F.max_pool2d(where, 5, stride=1, padding=2), 3, stride=1, padding=1)[0]
        visible = torch.from_numpy(added).to(ids.device) & (ids == 0)
        return (
            torch.maximum(pixels, (turned * gain * soft).clamp(max=1)),
            torch.where(visible, guests + ids.max(), ids),
        )


def _turned(pixels: torch.Tensor, ids: torch.Tensor, which: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One of the seven mirror images and quarter turns of a square tile."""
    turned = [torch.rot90(part, which % 4, (-2, -1)) for part in (pixels, ids)]
    if which >= 4:
        turned = [part.flip(-1) for part in turned]
    return turned[0], turned[1]


def _fitting(guests: np.ndarray, taken: np.ndarray, overlap: float) -> np.ndarray:
    """True where those nuclei lie of which at most a share `overlap` is taken; bool (t, t)."""
    known = np.where(guests > 0, guests, 0)
    area = np.bincount(known.ravel())
    shared = np.bincount(known[taken].ravel(), minlength=len(area))
    fits = (area > 0) & (shared <= overlap * area)
    fits[0] = False
    return fits[known]
