"""Input pictures of classification models: a field's thumbnail, autofluorescence, composite or marker channels."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...io.fields.field import Field
from ...io.fields.readers import open_field
from ..colors import planes_to_rgb
from ..pixels import pick_channels, read_scaled
from ..scaling import PercentileScaling

log = logging.getLogger(__name__)

INPUTS = ("thumbnail", "autofluorescence", "composite", "markers")
SHRINK = 4  # inForm's thumbnails have a quarter of the field's width and height
_AUTOFLUORESCENCE = re.compile(r"auto|af\b", re.IGNORECASE)


def resolve_channels(path: str | Path, input: str, channels: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the full names of the channels that `input` reads from a field; () for a thumbnail or a coloured picture.

    Without `channels` these are all channels in file order, or the one whose name begins with "auto" or the
    word "AF". Raises `UserError` for channels that the file does not have and for a channel given twice.
    """
    if input not in INPUTS:
        raise UserError(f"input={input!r} is unknown; it may be {', '.join(INPUTS)}.")
    if input == "thumbnail":
        if channels:
            log.warning("input=thumbnail reads the thumbnail in the file: the channels %s are not used", list(channels))
        return ()
    with open_field(path) as field:
        if input == "composite" and field.is_rgb:
            return ()
        if input == "autofluorescence" and not channels:
            return (_autofluorescence(field),)
        if input == "autofluorescence" and len(channels) > 1:
            raise UserError(f"input=autofluorescence reads one channel, but {len(channels)} are given.")
        names = [field.channel_name(i) for i in pick_channels(field, channels)] if channels else field.channels
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two of the channels {', '.join(channels)} are the same channel.")
    return tuple(names)


def n_planes(input: str, channels: Sequence[str]) -> int:
    """Return the number of planes of a picture; `channels` are those of `resolve_channels`."""
    return len(channels) if input in ("autofluorescence", "markers") else 3


def read_input(
    path: str | Path,
    input: str = "thumbnail",  # one of `INPUTS`
    channels: Sequence[str] = (),  # names; default: `resolve_channels`
    scaling: PercentileScaling | None = None,
) -> np.ndarray:
    """Return the picture of one field as float32 (C, H, W) in [0, 1].

    If the file has no thumbnail page, its thumbnail is a coloured picture itself, a grey picture in three equal planes,
    or else the composite at a quarter of the size. A composite is the sum of the channels in the file's colours, each
    scaled on its own.
    """
    scaling = scaling or PercentileScaling()
    if input in ("autofluorescence", "markers"):
        return read_scaled(path, channels or resolve_channels(path, input), scaling)
    with open_field(path) as field:
        thumbnail = field.thumbnail() if input == "thumbnail" else None
        if thumbnail is not None:
            return np.ascontiguousarray(thumbnail.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)
        if field.is_rgb:
            return _picture(field)
        names = [field.channel_name(i) for i in pick_channels(field, channels)] if channels else field.channels
        colors = [field.colors[field.channel_index(name)] for name in names]
    planes = read_scaled(path, names, scaling)
    if names == ["grey"]:
        return np.repeat(planes, 3, axis=0)
    composite = planes_to_rgb(planes, colors)
    if input == "composite":
        return composite
    log.info("%s has no thumbnail page: its composite at 1/%d of the size is used", path, SHRINK)
    return resized(composite, (max(1, composite.shape[1] // SHRINK), max(1, composite.shape[2] // SHRINK)))


def resized(pixels: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize (C, H, W) to an edge length or (height, width); antialiased, so that no pixel is skipped."""
    shape = (size, size) if isinstance(size, int) else size
    if pixels.shape[1:] == tuple(shape):
        return pixels
    import torch  # takes seconds, and commands that resize nothing import this module too

    plane = torch.from_numpy(np.ascontiguousarray(pixels))[None]
    smooth = torch.nn.functional.interpolate(plane, shape, mode="bilinear", antialias=True, align_corners=False)
    return smooth[0].clamp_(0, 1).numpy()


def _picture(field: Field) -> np.ndarray:
    """Red, green and blue scaled to [0, 1] from 8 or 16 bits, or unchanged if they are in [0, 1]."""
    planes = np.stack([field.read(i) for i in range(3)])
    high = float(planes.max())
    return planes / np.float32(1 if high <= 1 else 255 if high <= 255 else 65535)


def _autofluorescence(field: Field) -> str:
    names = [name for name in field.channels if _AUTOFLUORESCENCE.match(name)]
    if len(names) != 1:
        raise UserError(
            f"{field.path}: the autofluorescence channel cannot be determined from the names "
            f"{', '.join(field.channels)}; give it as `channel`."
        )
    return names[0]
