"""Batch augmentation of tiles together with their masks: rotation, flips, quarter turns and zoom."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from fastai.vision.augment import RandTransform
from fastai.vision.core import TensorImage, TensorMask

from ...errors import UserError


class TileAugment(RandTransform):
    """Rotate by up to `max_rotate` degrees and flip tile and mask together; the mask by nearest neighbour.

    This is the paper's augmentation (its 7.5): rotation by 3 degrees and flips along both axes. `dihedral` adds quarter
    turns, and the zoom is a factor between `min_zoom` and `max_zoom`. With a `margin`, tiles come with as many pixels
    of their surroundings on each side, and a tile is cut out that is shifted by up to the margin.
    Pixels from outside are a mirror image. All random numbers come from torch's generator on the CPU, so that they do
    not depend on the device. Only training batches are changed (fastai's own affine transforms resample validation
    batches too).
    """

    split_idx, order = 0, 30

    def __init__(
        self,
        max_rotate: float = 3.0,
        flips: bool = True,
        dihedral: bool = False,
        min_zoom: float = 1.0,
        max_zoom: float = 1.0,
        margin: int = 0,  # pixels
    ):
        super().__init__(p=1.0)
        if not 0 < min_zoom <= max_zoom:
            raise UserError(f"min_zoom={min_zoom} must be positive, and not larger than max_zoom={max_zoom}.")
        if margin < 0:
            raise UserError(f"margin={margin} cannot be negative.")
        self.max_rotate, self.flips, self.dihedral = max_rotate, flips, dihedral
        self.min_zoom, self.max_zoom, self.margin = min_zoom, max_zoom, margin

    def before_call(self, b: Any, split_idx: int | None) -> None:
        """Draw one 2x3 matrix per tile."""
        x = b[0] if isinstance(b, tuple | list) else b
        self.do = True
        self.matrices = self.draw(x.shape[0], x.shape[-1]).to(x.device)

    def draw(self, n: int, edge: int = 480) -> torch.Tensor:
        """Return n random matrices (n, 2, 3) for `affine_grid`, for tiles that are `edge` pixels with their margin."""
        angle = (torch.rand(n) * 2 - 1) * math.radians(self.max_rotate)
        flip_x, flip_y = (torch.randint(0, 2, (2, n)) * 2 - 1) if self.flips else torch.ones(2, n, dtype=torch.long)
        turns = torch.randint(0, 4, (n,)) if self.dihedral else torch.zeros(n, dtype=torch.long)
        cos, sin = angle.cos(), angle.sin()
        rotation = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
        flips = torch.diag_embed(torch.stack([flip_x, flip_y], -1).float())
        quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        powers = torch.stack([torch.linalg.matrix_power(quarter, k) for k in range(4)])
        matrices = rotation @ flips @ powers[turns]
        if self.min_zoom < self.max_zoom:
            nearest, furthest = -math.log(self.max_zoom), -math.log(self.min_zoom)
            matrices = matrices * torch.exp(nearest + torch.rand(n) * (furthest - nearest))[:, None, None]
        if not self.margin:
            return F.pad(matrices, (0, 1))
        inner, shift = (edge - 2 * self.margin) / edge, 2 * self.margin / edge
        return torch.cat([matrices * inner, (torch.rand(n, 2, 1) * 2 - 1) * shift], dim=2)

    def encodes(self, x: TensorImage | TensorMask):
        """Apply the matrices of this batch."""
        is_mask = isinstance(x, TensorMask)
        plain = x.as_subclass(torch.Tensor)
        planes = plain[:, None].float() if is_mask else plain
        edges = [length - 2 * self.margin for length in planes.shape[2:]]
        where = F.affine_grid(self.matrices, [*planes.shape[:2], *edges], align_corners=False)
        mode = "nearest" if is_mask else "bilinear"
        moved = F.grid_sample(planes, where, mode=mode, padding_mode="reflection", align_corners=False)
        return type(x)(moved[:, 0].to(plain.dtype) if is_mask else moved)
