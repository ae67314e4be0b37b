"""`corrected_cells`: the table of a field's cells after its labels were corrected, measured anew where they changed."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage as ndi

from ..cells.measure import has_ring_quartiles, measure_cells
from ..inference.chunks import Box
from ..io.fields.field import Field
from .hand_types import untyped

_OF_PREDICTION = ("probability", "uncertainty")  # columns that are not known of nuclei drawn by hand


def corrected_cells(
    before: pd.DataFrame,  # the cells as they were predicted
    labels: np.ndarray,  # (H, W): corrected
    predicted: np.ndarray,  # (H, W)
    *,
    field: Field,
    ring_um: float,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the cells without types, sorted by label, and the labels of those whose own pixels changed.

    A cell is measured again if a pixel changed in it or so near that it may limit its ring; the rows of all others stay
    as they are. Mean probability and uncertainty are not known of changed nuclei.
    """
    is_changed = labels != predicted
    changed = np.setdiff1d(np.unique(labels[is_changed]), [0])
    reach = 2 * math.ceil(ring_um / (field.pixel_size_um or 1.0)) + 2
    rings = {"ring_um": ring_um, "ring_quartiles": has_ring_quartiles(before)}
    measured = _measured(labels, is_changed, reach, field=field, rings=rings)
    kept = untyped(before)
    present = kept["label"].isin(_ids(labels)) & ~kept["label"].isin(measured["label"])
    known = kept.set_index("label")[[c for c in _OF_PREDICTION if c in kept]]
    measured = measured.join(known[~known.index.isin(changed)], on="label")
    rows = [part for part in (kept[present], measured[[c for c in kept if c in measured]]) if len(part)]
    table = pd.concat(rows, ignore_index=True) if rows else kept.iloc[:0]
    return table.sort_values("label", ignore_index=True), changed


def _ids(labels: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.bincount(labels.ravel()))


def _measured(
    labels: np.ndarray, is_changed: np.ndarray, reach: int, *, field: Field, rings: dict[str, Any]
) -> pd.DataFrame:
    """The cells that are within reach of a changed pixel, measured."""
    boxes = ndi.find_objects(labels)
    regions = ndi.find_objects(ndi.label(is_changed, np.ones((3, 3)))[0])
    tables = [measure_cells(np.zeros((1, 1), labels.dtype), field, at=(0, 0), **rings)]  # has the columns
    done: set[int] = set()
    for region in regions:
        near = _box(region).grown(reach, labels.shape)
        ids = [i for i in np.unique(labels[near.slices()]).tolist() if i > 0 and i not in done]
        if ids:
            whole = _box(boxes[ids[0] - 1])
            for i in ids[1:]:
                whole = whole.union(_box(boxes[i - 1]))
            whole = whole.grown(reach, labels.shape)
            part, at = labels[whole.slices()], (whole.y0, whole.x0)
            tables.append(measure_cells(part, field, at=at, ids=np.array(ids), **rings))
            done |= set(ids)
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]


def _box(where: tuple[slice, slice]) -> Box:
    return Box(where[0].start, where[0].stop, where[1].start, where[1].stop)
