"""`check_cohort`: read every file of a cohort and name each one that is unmatched, unreadable or of the wrong size."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..errors import UserError
from ..io.cell_tables import read_cell_table, read_outlines
from ..io.fields.readers import open_field
from ..io.masks import read_mask
from .cohort import Cohort, Problem
from .pixels import pick_channels


def check_cohort(cohort: Cohort, channels: Sequence[str] = ()) -> list[Problem]:
    """Everything that is wrong with the files of a cohort, in the order of its table; [] if it is sound.

    Every pixel of `channels` (default: of all) is decoded, so that a file cut short is found; one field a processor
    is in memory at a time.
    """

    def of_row(row) -> list[Problem]:
        return _check_row(row, channels)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = list(pool.map(of_row, cohort.table.itertuples()))
    return [*cohort.problems, *(problem for problems in found for problem in problems)]


def _check_row(row, channels: Sequence[str]) -> list[Problem]:
    shape, problems = _attempt(row.image, lambda: _check_image(row.image, channels))
    if row.mask:
        mask, wrong = _attempt(row.mask, lambda: read_mask(row.mask))
        problems += wrong
        if mask is not None and shape is not None and mask.shape != shape:
            sizes = f"{mask.shape[0]} x {mask.shape[1]} pixels, its image {row.image} has {shape[0]} x {shape[1]}"
            problems.append(Problem(row.mask, f"has {sizes}"))
        if mask is not None and not mask.any():
            problems.append(Problem(row.mask, "holds no nucleus"))
    for path, read in ((getattr(row, "cells", ""), read_cell_table), (getattr(row, "outlines", ""), read_outlines)):
        if path:
            problems += _attempt(path, lambda path=path, read=read: read(path))[1]
    return problems


def _attempt(path: str, read: Callable) -> tuple:
    try:
        return read(), []
    except UserError as e:
        return None, [Problem(path, str(e).removeprefix(f"{path}:").removeprefix(path).strip())]


def _check_image(path: str, channels: Sequence[str]) -> tuple[int, int]:
    with open_field(path) as field:
        for index in pick_channels(field, channels) if channels else range(len(field.channels)):
            plane = field.read(index)
            holes = int(plane.size - np.isfinite(plane).sum())
            if holes:
                raise UserError(f"{path}: channel {field.channels[index]} has {holes} NaN or infinite pixels.")
        return field.shape
