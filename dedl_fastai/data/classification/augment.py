"""Batch augmentation of pictures as in the paper: colour jitter, perspective, rotation and flips."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from fastai.vision.augment import RandTransform

from .tensors import TensorPicture

_LUMA = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])  # RGB -> YIQ
_CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])  # (x, y) of the picture's corners


class PictureAugment(RandTransform):
    """Colour jitter or perspective, then colour jitter or rotation, then flips, each with probability `p` per item.

    The list, the strengths and p = 0.3 are the paper's (its 7.5): jitter of brightness, contrast and saturation by 0.2,
    perspective with torchvision's `distortion_scale` 0.2, rotation by 10 degrees. Pictures may have any number of
    planes: brightness and contrast are drawn for each plane, or once per coloured picture, together with hue and
    saturation. Unlike torchvision's, the jitter has a fixed order, and pixels from outside the picture are its mirror
    image instead of black. All random numbers come from torch's generator on
    the CPU, so that they do not depend on the device. Only training batches are changed.
    """

    split_idx, order = 0, 30

    def __init__(
        self,
        p: float = 0.3,
        brightness: float = 0.2,  # the factor is within 1 -/+ this value
        contrast: float = 0.2,  # around the mean of the plane
        saturation: float = 0.2,
        hue: float = 0.0,  # in turns of the colour circle
        degrees: float = 10.0,
        distortion: float = 0.2,  # corners move inwards by up to this share of half an edge, along both axes
        color: bool | None = None,  # whether planes are red, green and blue; default: if there are three
    ):
        super().__init__(p=1.0)
        self.chance, self.brightness, self.contrast = p, brightness, contrast
        self.saturation, self.hue, self.degrees = saturation, hue, degrees
        self.distortion, self.color = distortion, color

    def before_call(self, b: Any, split_idx: int | None) -> None:
        """Draw the transforms of each item."""
        x = b[0] if isinstance(b, tuple | list) else b
        self.do = True
        self.draw(x.shape[0], x.shape[1])

    def draw(self, n: int, planes: int) -> None:
        """Draw the choices, jitters and homographies of n items and keep them for `encodes`."""
        fires, first, flips = torch.rand(n, 2) < self.chance, torch.rand(n, 2) < 0.5, torch.rand(n, 2) < self.chance
        self.flips = flips
        self.jitters = [(fires[:, i] & first[:, i], torch.rand(n, 2, planes), torch.rand(n, 2)) for i in range(2)]
        is_moved = fires & ~first  # the alternative to jitter: perspective, rotation
        inwards = -_CORNERS * torch.rand(n, 4, 2) * self.distortion * is_moved[:, :1, None]
        angles = (torch.rand(n) * 2 - 1) * math.radians(self.degrees) * is_moved[:, 1]
        self.moved, self.matrices = is_moved.any(1), torch.linalg.inv(homographies(inwards)) @ rotations(angles)

    def encodes(self, x: TensorPicture) -> TensorPicture:
        """Apply the transforms drawn for this batch."""
        plain = x.as_subclass(torch.Tensor).clone()
        for chosen, factors, hues in self.jitters:
            if chosen.any():
                at = chosen.to(plain.device)
                plain[at] = self._jittered(plain[at], factors[chosen].to(plain.device), hues[chosen])
        if self.moved.any():
            at = self.moved.to(plain.device)
            plain[at] = warped(plain[at], self.matrices[self.moved].to(plain.device))
        for axis in (0, 1):
            at = self.flips[:, axis].to(plain.device)
            plain[at] = plain[at].flip(-1 - axis)
        return TensorPicture(plain)

    def _jittered(self, x: torch.Tensor, factors: torch.Tensor, hues: torch.Tensor) -> torch.Tensor:
        is_color = x.shape[1] == 3 if self.color is None else self.color and x.shape[1] == 3
        if is_color:
            factors = factors[..., :1]
        bright = 1 + (2 * factors[:, 0] - 1) * self.brightness
        contrast = 1 + (2 * factors[:, 1] - 1) * self.contrast
        x = x * bright[..., None, None]
        mean = x.mean(dim=(-2, -1), keepdim=True)
        x = mean + (x - mean) * contrast[..., None, None]
        if is_color:
            angle, chroma = (2 * hues.T - 1) * torch.tensor([[2 * math.pi * self.hue], [self.saturation]])
            x = torch.einsum("nij,njhw->nihw", color_matrices(angle, 1 + chroma).to(x.device), x)
        return x.clamp(0, 1)


def color_matrices(angle: torch.Tensor, saturation: torch.Tensor) -> torch.Tensor:
    """Return matrices (n, 3, 3) that rotate the hue of RGB and scale its saturation at constant brightness."""
    cos, sin, zero = angle.cos() * saturation, angle.sin() * saturation, torch.zeros_like(angle)
    turn = torch.stack([zero + 1, zero, zero, zero, cos, -sin, zero, sin, cos], -1).view(-1, 3, 3)
    return torch.linalg.inv(_LUMA) @ turn @ _LUMA


def rotations(angles: torch.Tensor) -> torch.Tensor:
    """Return rotation matrices (n, 3, 3) for homogeneous coordinates (x, y, 1)."""
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], -1).view(-1, 3, 3)


def homographies(shifts: torch.Tensor) -> torch.Tensor:
    """Return matrices (n, 3, 3) that map the corners of the square [-1, 1] to corners shifted by `shifts` (n, 4, 2)."""
    n = len(shifts)
    to, one, zero = _CORNERS + shifts, torch.ones(n, 4), torch.zeros(n, 4)
    x, y = _CORNERS.T.expand(n, 2, 4).unbind(1)
    rows_x = torch.stack([x, y, one, zero, zero, zero, -x * to[..., 0], -y * to[..., 0]], -1)
    rows_y = torch.stack([zero, zero, zero, x, y, one, -x * to[..., 1], -y * to[..., 1]], -1)
    system, known = torch.cat([rows_x, rows_y], 1), torch.cat([to[..., 0], to[..., 1]], 1)
    return torch.cat([torch.linalg.solve(system, known), torch.ones(n, 1)], 1).view(-1, 3, 3)


def warped(x: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Resample pictures (n, C, H, W) at the positions that the matrices give; the outside is their mirror image."""
    height, width = x.shape[-2:]
    ys, xs = ((2 * torch.arange(k, device=x.device) + 1) / k - 1 for k in (height, width))
    grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)
    points = torch.cat([grid, torch.ones_like(grid[..., :1])], -1)
    at = torch.einsum("nij,hwj->nhwi", matrices, points)
    where = at[..., :2] / at[..., 2:]
    return F.grid_sample(x, where, mode="bilinear", padding_mode="reflection", align_corners=False)
