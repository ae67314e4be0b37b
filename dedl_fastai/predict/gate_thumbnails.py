"""Pictures of the cells just below and just above a cut-off, from the images of their fields."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
from PIL import Image

from ..data.classification.tile_labels import cell_centres
from ..errors import UserError
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from ..phenotypes.columns import plain_name
from .cell_sources import CellSource

_EACH = 8  # cells below and above
_UM, _PX = 30.0, 60  # edge of a picture, the latter without a pixel size
_SHOWN = 88  # pixels of a picture on the page
_BRIGHTEST = 3.0  # the display range ends at so many times the cut-off: the mean of a cell is below that of its rim
_COUNTERSTAINS = ("dapi", "hoechst")
_GAP = 4
_TICK = 9  # pixels


def cells_at_the_cut(
    sources: Sequence[CellSource],
    marker: str,
    values: Mapping[str, np.ndarray],  # field -> intensity of each cell
    cut: float,
    factors: Mapping[str, float],  # slide -> factor by which its intensities were divided
) -> tuple[np.ndarray, np.ndarray] | None:
    """Two strips of pictures (H, W, 3): cells just below and just above the cut-off, brightest on the right.

    The marker is yellow, the nuclei are blue, and the display range is the same. None if there is no picture.
    """
    by_name = {s.name: s for s in sources if s.image is not None}
    rows = [(v, name, i) for name in by_name for i, v in enumerate(values[name]) if np.isfinite(v)]
    below = sorted((r for r in rows if r[0] <= cut), reverse=True)[:_EACH][::-1]
    above = sorted(r for r in rows if r[0] > cut)[:_EACH]
    pictures: dict[tuple[str, int], np.ndarray] = {}
    for name in {row[1] for row in below + above}:
        with suppress(UserError):  # an image without this channel, or that cannot be read, has no pictures
            source = by_name[name]
            bright = _BRIGHTEST * cut * factors.get(source.origin.slide, 1.0)
            pictures |= _of_field(source, marker, [r[2] for r in below + above if r[1] == name], bright)
    strips = [[pictures[r[1:]] for r in side if r[1:] in pictures] for side in (below, above)]
    return (_strip(strips[0]), _strip(strips[1])) if all(strips) else None


def _of_field(
    source: CellSource, marker: str, cells: Sequence[int], bright: float
) -> dict[tuple[str, int], np.ndarray]:
    assert source.image is not None
    with open_field(source.image) as field:
        channel = _channel(field, marker)
        nuclei = next((i for i, c in enumerate(field.channels) if plain_name(c).startswith(_COUNTERSTAINS)), None)
        centres = cell_centres(source.table, field)
        edge = round(_UM / field.pixel_size_um) if field.pixel_size_um else _PX
        found = {}
        for cell in cells:
            shown = _crop(field, channel, centres[cell], edge) / bright
            blue = np.zeros_like(shown) if nuclei is None else _crop(field, nuclei, centres[cell], edge)
            found[source.name, cell] = _picture(shown, blue / max(float(np.percentile(blue, 99)), 1e-9))
    return found


def _channel(field: Field, marker: str) -> int:
    name = plain_name(marker.partition("@")[0])
    found = [i for i, c in enumerate(field.channels) if plain_name(c).startswith(name)]
    return found[0] if found else field.channel_index(marker)


def _crop(field: Field, channel: int, centre: np.ndarray, edge: int) -> np.ndarray:
    """A square around a cell; beyond the edge of the field it is 0."""
    top, left = (round(float(c)) - edge // 2 for c in centre)
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + edge, field.shape[0]), min(left + edge, field.shape[1])
    crop = np.zeros((edge, edge), np.float32)
    if y1 > y0 and x1 > x0:
        crop[y0 - top : y1 - top, x0 - left : x1 - left] = field.read(channel, y0=y0, y1=y1, x0=x0, x1=x1)
    return crop


def _picture(marker: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    marker, nuclei = np.clip(marker, 0, 1), np.clip(nuclei, 0, 1)
    planes = np.stack([marker, 0.85 * marker, np.maximum(0.55 * nuclei, 0.15 * marker)], axis=-1)
    small = Image.fromarray(np.round(255 * planes).astype(np.uint8))
    picture = np.array(small.resize((_SHOWN, _SHOWN), Image.Resampling.BICUBIC))
    middle = slice(_SHOWN // 2 - 1, _SHOWN // 2 + 1)  # ticks that point at the cell in the middle
    for end in (slice(0, _TICK), slice(-_TICK, None)):
        picture[end, middle] = picture[middle, end] = 255
    return picture


def _strip(pictures: Sequence[np.ndarray]) -> np.ndarray:
    strip = np.full((_SHOWN, max(1, len(pictures)) * (_SHOWN + _GAP) - _GAP, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        strip[:, i * (_SHOWN + _GAP) : i * (_SHOWN + _GAP) + _SHOWN] = picture
    return strip
