"""Nucleus masks: 0/1, 0/255, instance labels 0..n, an inForm segmentation map, or the corrections of a field.

Pixels where the truth is unknown are `IGNORED`: those with this value in a mask file, and those of a corrected field
that are not checked. Losses and scores leave them out.
"""

from pathlib import Path

import numpy as np
from skimage.measure import label

from ..errors import UserError
from .corrections import BEHIND, checked_mask, is_up_to_date, log_of, read_log, with_whole_nuclei
from .fields.field import Field
from .fields.inform import read_segmentation_maps
from .fields.readers import open_field
from .fields.tiff_field import TiffField
from .fields.tiff_pages import all_pages, open_tiff
from .files import existing_file

IGNORED = -2  # in masks and labels: not known, neither nucleus nor background (-1 is a nucleus without an id)
_MAX_ID = 1 << 24  # fields are read as float32, in which larger ids are no longer distinct
_EXPECTED = "expected 0 and 1, 0 and 255, or the ids 0, 1, 2, ... of the nuclei"
_MIN_EQUAL_NEIGHBOURS = (
    0.8  # share of pairs in the foreground: 0.94 to 1 in real label maps, 0.1 to 0.78 in grey images
)
_MAX_PIECES_PER_ID = 2  # 1 in masks drawn by hand, up to 1.006 in inForm's maps; a class has one piece per nucleus


def read_labels(path: str | Path) -> np.ndarray:
    """Read a mask file as int32 (H, W): ids of nuclei, or a single value for all foreground; `IGNORED` if unknown.

    An inForm segmentation map gives its nucleus page; an RGB picture with three equal planes counts as grey. Raises
    `UserError` for other values (a probability map, a JPEG, a colour overlay).
    """
    path = existing_file(path)
    if (log := log_of(path)) is not None:
        return _checked_part(path, log)
    with open_field(path) as field:
        if _is_segmentation_map(field):
            maps = read_segmentation_maps(path)
            if "nucleus" not in maps:
                raise UserError(f"{path} holds {', '.join(maps)} but no nucleus page: export the nucleus map.")
            return maps["nucleus"]
        values = _single_plane(path, field)
        if field.format == "jpeg" and len(np.unique(values)) > 2:
            raise UserError(f"{path} is not a mask: JPEG compression has changed its values. Save it as PNG or TIFF.")
    return _checked_labels(path, values)


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask file as uint8 (H, W): 1 in nuclei, 0 elsewhere; int8 with `IGNORED` if a part is unknown.

    Raises the same errors as `read_labels`.
    """
    labels = read_labels(path)
    mask = (labels > 0).astype(np.uint8)
    return np.where(labels == IGNORED, np.int8(IGNORED), mask.astype(np.int8)) if (labels == IGNORED).any() else mask


def files_of_mask(path: str | Path) -> list[Path]:
    """Return the files that a mask is read from: for a corrected field, its log too."""
    log = log_of(path)
    return [Path(path)] if log is None else [Path(path), log]


def holds_ids(path: str | Path, labels: np.ndarray) -> bool | None:
    """True if the values that `read_labels` read from a mask file are ids of nuclei; None if they may or may not be.

    inForm's maps hold ids, and so do files with several values above 0 that form one piece each. One value in several
    pieces is a binary mask; several values in many pieces each are classes of pixels. A single piece or an empty mask
    may be either. Corrected labels hold ids.
    """
    if log_of(path) is not None:
        return True
    with open_field(path) as field:
        if _is_segmentation_map(field):
            return True
    n_ids = len(np.unique(labels[labels > 0]))
    n_pieces = int(label(np.maximum(labels, 0), connectivity=2).max())
    if n_ids <= 1:
        return None if n_pieces <= 1 else False
    return n_pieces <= _MAX_PIECES_PER_ID * n_ids


def mask_shape(path: str | Path) -> tuple[int, int]:
    """Return (H, W) of a mask file, read from its header."""
    with open_field(path) as field:
        return field.shape


def _is_segmentation_map(field: Field) -> bool:
    if not isinstance(field, TiffField):
        return False
    with open_tiff(field.path) as tif:
        descriptions = [p.description for p in all_pages(field.path, tif)]
    return any("<SegmentationImage>" in d or "<TissueClassMap>" in d for d in descriptions)


def _checked_part(path: Path, log: Path) -> np.ndarray:
    """The corrected ids in the checked part of a field, with whole nuclei; `IGNORED` elsewhere."""
    with open_field(path) as field:
        values = field.read(0)
    if values.max() >= _MAX_ID:
        raise UserError(f"{path} has ids from {_MAX_ID} on: predict the field again.")
    labels = values.astype(np.int32)
    actions = read_log(log)
    if not is_up_to_date(path, actions):
        raise UserError(f"{path} {BEHIND}.")
    checked = checked_mask(actions, labels.shape)
    return np.where(with_whole_nuclei(checked, labels), labels, np.int32(IGNORED))


def _single_plane(path: Path, field: Field) -> np.ndarray:
    first = field.read(0)
    for i in range(1, len(field.channels)):
        if not np.array_equal(first, field.read(i)):
            raise UserError(
                f"{path} has {len(field.channels)} planes that differ, and a mask has one plane: save it as grey."
            )
    return first


def _checked_labels(path: Path, values: np.ndarray) -> np.ndarray:
    distinct = np.unique(values)
    if distinct[-1] >= _MAX_ID:
        raise UserError(f"{path} is not a mask with ids below {_MAX_ID}: number its nuclei from 1 on.")
    fits = np.isfinite(distinct) & (distinct == np.round(distinct)) & ((distinct >= 0) | (distinct == IGNORED))
    if not fits.all():
        bad = distinct[~fits]
        raise UserError(f"{path} is not a mask: it holds values such as {bad[0]:g}; {_EXPECTED}.")
    ids = distinct[distinct > 0]
    if len(ids) > 1 and len(ids) < 0.5 * ids[-1]:  # ids of nuclei are nearly consecutive; grey values are not
        first = ", ".join(f"{v:g}" for v in distinct[:4])
        raise UserError(
            f"{path} is not a mask: it holds {len(distinct)} values ({first}, ... {distinct[-1]:g}); {_EXPECTED}."
        )
    if len(ids) > 1 and _equal_neighbours(values) < _MIN_EQUAL_NEIGHBOURS:
        raise UserError(f"{path} is not a mask: its values change from pixel to pixel, as in an image; {_EXPECTED}.")
    return values.astype(np.int32)


def _equal_neighbours(values: np.ndarray) -> float:
    """Share of the horizontal pairs of foreground pixels with equal values; 1 if there is no such pair."""
    left, right = values[:, :-1], values[:, 1:]
    pairs = (left > 0) & (right > 0)
    return float((left == right)[pairs].mean()) if pairs.any() else 1.0
