"""`known_nuclei`: the nuclei that belong to a table of cells, from outlines, from a mask, or as disks."""

from typing import Any

import numpy as np
import pandas as pd
from skimage.segmentation import expand_labels

from ...io.cell_tables import read_outlines
from ...io.fields.field import Field
from ...io.masks import holds_ids, read_labels
from ...io.outlines import label_image
from ..cache import check_same_size
from .tile_labels import cell_centres

DISK_UM, DISK_PX = 4.0, 6.0  # radius of the disk that stands for a nucleus; in pixels if their size is unknown


def known_nuclei(row: Any, field: Field, table: pd.DataFrame) -> tuple[np.ndarray, str]:
    """Return labels (H, W) of the nuclei of a row of a cohort, and their origin: outlines, mask or disks.

    Outlines are preferred to a mask, and a mask must hold ids. Without either, a disk stands for each cell at its
    position in the table; where disks overlap, a pixel belongs to the nearest cell.
    """
    if getattr(row, "outlines", ""):
        return label_image(field.shape, read_outlines(row.outlines).values()), "outlines"
    if row.mask:
        labels = read_labels(row.mask)
        if holds_ids(row.mask, labels):
            check_same_size(row.image, field.shape, row.mask, labels.shape)
            return np.maximum(labels, 0), "mask"
    radius = DISK_UM / field.pixel_size_um if field.pixel_size_um else DISK_PX
    return disks(field.shape, cell_centres(table, field), radius), "disks"


def disks(shape: tuple[int, int], centres: np.ndarray, radius: float) -> np.ndarray:
    """Labels 1..n (H, W) of disks around centres (n, 2) as (y, x); centres outside the field get no pixels.

    Of several cells in one pixel, the last has it.
    """
    seeds = np.zeros(shape, np.int32)
    finite = np.isfinite(centres).all(axis=1)
    at = np.round(np.where(finite[:, None], centres, -1)).astype(int)
    inside = ((at >= 0) & (at < np.array(shape))).all(axis=1)
    seeds[tuple(at[inside].T)] = np.flatnonzero(inside) + 1
    return expand_labels(seeds, radius)
