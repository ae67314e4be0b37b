"""Batch augmentation of the intensities of tiles: contrast, brightness, gamma, blur and noise."""

from typing import Any

import torch
from fastai.vision.augment import RandTransform
from torchvision.transforms.v2.functional import gaussian_blur

from .tensors import TensorField


class IntensityAugment(RandTransform):
    """Change contrast and brightness of each tile, and optionally gamma, blur and noise.

    Each number is the largest change: contrast is multiplied by 1 - `contrast` to 1 + `contrast` around the tile's
    mean, up to `brightness` is added, the exponent is 2 to the power of -`gamma` to `gamma`. Half of the tiles are
    blurred by a Gaussian of up to `blur` pixels, and half get normal noise of a standard deviation of up to `noise`.
    Pixels are in [0, 1], before and after. All random numbers come from torch's generator on the CPU. Only training
    batches change.
    """

    split_idx, order = 0, 32  # after the geometry, before normalisation

    def __init__(
        self,
        contrast: float = 0.2,
        brightness: float = 0.1,
        gamma: float = 0.0,
        blur: float = 0.0,
        noise: float = 0.0,
    ):
        super().__init__(p=1.0)
        self.contrast, self.brightness, self.gamma, self.blur, self.noise = contrast, brightness, gamma, blur, noise

    def before_call(self, b: Any, split_idx: int | None) -> None:
        """Change every batch; the numbers are drawn with it."""
        self.do = True

    def encodes(self, x: TensorField):
        """Apply the changes to a batch (B, C, H, W)."""
        pixels = x.as_subclass(torch.Tensor)
        mean = pixels.mean(dim=(2, 3), keepdim=True)
        pixels = (pixels - mean) * (1 + self.contrast * _signed(pixels)) + mean + self.brightness * _signed(pixels)
        pixels = pixels.clamp(0, 1)
        if self.gamma:
            pixels = pixels ** (2 ** (self.gamma * _signed(pixels)))
        if self.blur:
            pixels = torch.stack([self._blurred(tile) for tile in pixels])
        if self.noise:
            strength = self.noise * _signed(pixels).clamp(min=0)  # none for half of the tiles
            pixels = pixels + strength * torch.randn(pixels.shape).to(pixels)
        return TensorField(pixels.clamp(0, 1))

    def _blurred(self, tile: torch.Tensor) -> torch.Tensor:
        sigma = self.blur * float(torch.rand(()) * 2 - 1)
        if sigma <= 0.1:  # for half of the tiles; a narrower kernel has no effect
            return tile
        return gaussian_blur(tile, [2 * int(3 * sigma) + 3] * 2, [sigma] * 2)


def _signed(pixels: torch.Tensor) -> torch.Tensor:
    """One random number in -1..1 for each tile, (B, 1, 1, 1)."""
    return (torch.rand(len(pixels), 1, 1, 1) * 2 - 1).to(pixels)
