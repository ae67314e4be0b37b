"""What a classification model sees of a field: its thumbnail, its autofluorescence, a composite, or every channel."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ...errors import UserError
from ...io.fields.field import Field
from ...io.fields.picture_field import RGB
from ...io.fields.readers import open_field
from ..pixels import pick_channels, read_scaled
from ..scaling import PercentileScaling

log = logging.getLogger(__name__)

INPUTS = ("thumbnail", "autofluorescence", "composite", "markers")
SHRINK = 4  # a thumbnail's edge is a quarter of the field's, as inForm writes it
COLORS = (  # of channels whose file names no colour, in turn
    (0, 0, 255),
    (0, 255, 0),
    (255, 0, 0),
    (255, 255, 0),
    (255, 0, 255),
    (0, 255, 255),
    (255, 128, 0),
    (255, 255, 255),
)
_AUTOFLUORESCENCE = re.compile(r"auto|af\b", re.IGNORECASE)


def resolve_channels(path: str | Path, input: str, channels: Sequence[str] = ()) -> tuple[str, ...]:
    """Full names of the channels that `input` reads from this field, () for a thumbnail or a coloured picture.

    Without `channels`: all in file order, or the one whose name starts as autofluorescence does. Raises `UserError`
    for channels the file does not have and for a name given twice.
    """
    if input not in INPUTS:
        raise UserError(f"input={input!r} is unknown; it may be {', '.join(INPUTS)}.")
    if input == "thumbnail":
        if channels:
            log.warning("input=thumbnail reads the file's own picture: the channels %s are not used", list(channels))
        return ()
    with open_field(path) as field:
        if input == "composite" and field.channels == list(RGB):
            return ()
        if input == "autofluorescence" and not channels:
            return (_autofluorescence(field),)
        if input == "autofluorescence" and len(channels) > 1:
            raise UserError(f"input=autofluorescence reads one channel, {len(channels)} are given.")
        names = [field.channels[i] for i in pick_channels(field, channels)] if channels else field.channels
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two of the channels {', '.join(channels)} are the same one.")
    return tuple(names)


def n_planes(input: str, channels: Sequence[str]) -> int:
    """Planes of a picture, with `channels` as `resolve_channels` gave them."""
    return len(channels) if input in ("autofluorescence", "markers") else 3


def read_input(
    path: str | Path,
    input: str = "thumbnail",  # one of `INPUTS`
    channels: Sequence[str] = (),  # names; default: `resolve_channels`
    scaling: PercentileScaling | None = None,
) -> np.ndarray:
    """The picture of one field as float32 (C, H, W) in [0, 1].

    A file without a thumbnail page: a coloured picture is one itself, a grey one three times, of another file the
    composite is drawn and shrunk to a quarter. A composite adds the channels in the file's colours, scaled one by one.
    """
    scaling = scaling or PercentileScaling()
    if input in ("autofluorescence", "markers"):
        return read_scaled(path, channels or resolve_channels(path, input), scaling)
    with open_field(path) as field:
        thumbnail = field.thumbnail() if input == "thumbnail" else None
        if thumbnail is not None:
            return np.ascontiguousarray(thumbnail.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)
        if field.channels == list(RGB):
            return _picture(field)
        names = [field.channels[i] for i in pick_channels(field, channels)] if channels else field.channels
        colors = [field.colors[field.channel_index(name)] for name in names]
    planes = read_scaled(path, names, scaling)
    if names == ["grey"]:
        return np.repeat(planes, 3, axis=0)
    whole = render(planes, colors)
    if input == "composite":
        return whole
    log.info("%s has no thumbnail page: its composite is drawn and shrunk to 1/%d", path, SHRINK)
    return resized(whole, (max(1, whole.shape[1] // SHRINK), max(1, whole.shape[2] // SHRINK)))


def render(planes: np.ndarray, colors: Sequence[tuple[int, int, int] | None] | None = None) -> np.ndarray:
    """Planes (C, H, W) in [0, 1] added in their colours, float32 (3, H, W) in [0, 1]."""
    colors = colors or [None] * len(planes)
    filled = [c or COLORS[i % len(COLORS)] for i, c in enumerate(colors)]
    mixed = np.tensordot(np.array(filled, dtype=np.float32).T / np.float32(255), planes, axes=1)
    return np.clip(mixed, 0, 1, dtype=np.float32)


def resized(pixels: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """(C, H, W) brought to this edge or (height, width); antialiased, so that no pixel is skipped when shrinking."""
    shape = (size, size) if isinstance(size, int) else size
    if pixels.shape[1:] == tuple(shape):
        return pixels
    plane = torch.from_numpy(np.ascontiguousarray(pixels))[None]
    smooth = F.interpolate(plane, shape, mode="bilinear", antialias=True, align_corners=False)
    return smooth[0].clamp_(0, 1).numpy()


def _picture(field: Field) -> np.ndarray:
    """Red, green and blue as they are, of 8 or 16 bits or already in [0, 1]."""
    planes = np.stack([field.read(i) for i in range(3)])
    high = float(planes.max())
    return planes / np.float32(1 if high <= 1 else 255 if high <= 255 else 65535)


def _autofluorescence(field: Field) -> str:
    found = [name for name in field.channels if _AUTOFLUORESCENCE.match(name)]
    if len(found) != 1:
        raise UserError(
            f"{field.path}: which channel is the autofluorescence? It has {', '.join(field.channels)}; say so with "
            f"`channel`."
        )
    return found[0]
