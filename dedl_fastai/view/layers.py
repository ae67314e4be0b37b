"""`Layers`: the channels of a field, and the uncertainty of its prediction, as layers with colours and contrasts."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError
from .kept import Kept
from .pyramid import Pyramid

_PALETTE = ("#3c6eff", "#00d26a", "#ff3b30", "#ffd60a", "#ff5cf0", "#00e5ff", "#ff9500", "#ffffff")
_UNCERTAINTY, _HEAT = "uncertainty", "#ff2d95"
_UNIT = {"low": 0.0, "high": 1.0, "least": 0.0, "most": 1.0}
_FIRST = 3  # layers that are shown at first
_LOW, _HIGH = 1.0, 99.7  # percentiles that are black and full colour at first


class _Layer(NamedTuple):
    name: str
    color: str
    pyramid: Pyramid
    channel: int


class Layers:
    """The layers of a field, from its image and, if it exists, the file of its uncertainty."""

    def __init__(self, image: Path, pixel_size_um: float | None, uncertainty: Path, kept: Kept):
        self._contrasts: dict[int, dict[str, float]] = {}
        self._pyramids = [Pyramid(image, pixel_size_um, kept)]
        field = self._pyramids[0].field
        self.shape, self.pixel_size_um = field.shape, field.pixel_size_um
        colors = [c or None for c in field.colors]
        if len({c for c in colors if c}) < len(colors):  # none, or the same for several channels
            colors = [None] * len(colors)
        self._layers = [
            _Layer(name, _hex(given) if given else _PALETTE[i % len(_PALETTE)], self._pyramids[0], i)
            for i, (name, given) in enumerate(zip(field.channels, colors, strict=True))
        ]
        if uncertainty.is_file():
            self._pyramids.append(Pyramid(uncertainty, pixel_size_um, kept))
            self._layers.append(_Layer(_UNCERTAINTY, _HEAT, self._pyramids[1], 0))

    def _layer(self, index: int) -> _Layer:
        if not 0 <= index < len(self._layers):
            raise UserError(f"there is no layer {index}, but {len(self._layers)}, counted from 0.")
        return self._layers[index]

    def tile(self, layer: int, level: int, x: int, y: int) -> np.ndarray:
        """A tile of a layer as float32."""
        found = self._layer(layer)
        return found.pyramid.tile(found.channel, level, x=x, y=y)

    def described(self) -> list[dict[str, Any]]:
        """Name, colour and visibility of each layer, with the contrast of visible ones."""
        visible = [i for i, layer in enumerate(self._layers) if i < _FIRST and layer.name != _UNCERTAINTY]
        with ThreadPoolExecutor(_FIRST) as pool:  # decoding takes most of the time, and several cores can do it
            contrasts = dict(zip(visible, pool.map(self.contrast, visible), strict=True))
        return [
            {"name": layer.name, "color": layer.color, "visible": i in contrasts, "contrast": contrasts.get(i)}
            for i, layer in enumerate(self._layers)
        ]

    def contrast(self, layer: int) -> dict[str, float]:
        """The intensities that are black and full colour at first, the least and the largest one, from a sample."""
        if layer not in self._contrasts:
            self._contrasts[layer] = self._sampled_contrast(layer)
        return self._contrasts[layer]

    def _sampled_contrast(self, layer: int) -> dict[str, float]:
        found = self._layer(layer)
        if found.name == _UNCERTAINTY:  # bits
            return _UNIT
        pixels = found.pyramid.sample(found.channel)
        pixels = pixels[np.isfinite(pixels)]
        if not len(pixels):
            return _UNIT
        low, high = np.percentile(pixels, [_LOW, _HIGH])
        least, most = pixels.min(), max(pixels.max(), high + 1e-6)
        return {"low": float(low), "high": float(max(high, low + 1e-6)), "least": float(least), "most": float(most)}

    def done(self, layers: list[int]) -> float:
        """How much of the overviews of these layers is read, from 0 to 1."""
        found = [self._layer(i) for i in layers]
        return min([f.pyramid.done(f.channel) for f in found], default=1.0)

    def close(self) -> None:
        """Close the files."""
        for pyramid in self._pyramids:
            pyramid.close()


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
