"""What a model sees of a field: chosen channels, checked for holes, scaled to [0, 1]."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..io.field import Field, open_field
from .scaling import PercentileScaling

log = logging.getLogger(__name__)


def parse_channels(text: str) -> list[str]:
    """ "DAPI" or "red,green,blue" as a list of names."""
    names = [n.strip() for n in text.split(",") if n.strip()]
    if not names:
        raise UserError("--channel is empty: give a name such as DAPI, or several with commas between.")
    return names


def pick_channels(field: Field, channels: Sequence[str]) -> list[int]:
    """Indices of the channels in a field. A grey picture has one channel without a name: it is taken for any one."""
    if len(channels) == 1 and field.channels == ["grey"]:
        return [0]
    return [field.channel_index(c) for c in channels]


def read_scaled(path: str | Path, channels: Sequence[str], scaling: PercentileScaling) -> np.ndarray:
    """The channels of an image file as float32 (C, H, W) in [0, 1].

    Raises `UserError` if a channel is missing or holds NaN or infinite pixels; logs a constant one.
    """
    with open_field(path) as field:
        picked = pick_channels(field, channels)
        return np.stack([_scaled_plane(field, i, scaling) for i in picked])


def _scaled_plane(field: Field, index: int, scaling: PercentileScaling) -> np.ndarray:
    plane = field.read(index)
    holes = int(plane.size - np.isfinite(plane).sum())
    if holes:
        raise UserError(
            f"{field.path}: channel {field.channels[index]} has {holes} NaN or infinite pixels. Export it again, or "
            f"leave the field out (split 'ignore' in cohort.csv)."
        )
    scaled = scaling(plane)
    if not scaled.any():
        log.warning("%s: channel %s is constant (%g everywhere)", field.path, field.channels[index], plane.flat[0])
    return scaled
