"""`check_cohort`: read every file of a cohort and list those that are unmatched, unreadable or of the wrong size."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from ..errors import UserError
from ..io.cell_tables import read_cell_table, read_outlines
from ..io.fields.readers import open_field
from ..io.masks import read_mask
from .annotators import mask_columns
from .cohort import Cohort, Problem
from .pixels import channels_of_row, pick_channels

T = TypeVar("T")


def check_cohort(cohort: Cohort, channels: Sequence[str] = ()) -> list[Problem]:
    """Return all problems with the files of a cohort, in the order of its table; [] if there are none.

    Every pixel of `channels` (default: all channels) is decoded, so that truncated files are found. Each processor
    holds one field in memory at a time.
    """

    others = cohort.table[mask_columns(cohort.table)].to_numpy().tolist()  # masks of annotators

    def problems_of(row: Any) -> list[Problem]:
        return _check_row(row, channels, masks=[row.mask, *others[row.Index]])

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        problems_per_row = list(pool.map(problems_of, cohort.rows()))
    return [*cohort.problems, *(problem for problems in problems_per_row for problem in problems)]


def _check_row(row: Any, channels: Sequence[str], masks: Sequence[str]) -> list[Problem]:
    shape, problems = _attempt(row.image, lambda path: _check_image(path, row, channels))
    problems += [problem for mask in filter(None, masks) for problem in _check_mask(mask, row.image, shape)]
    if cells := getattr(row, "cells", ""):
        problems += _attempt(cells, read_cell_table)[1]
    if outlines := getattr(row, "outlines", ""):
        problems += _attempt(outlines, read_outlines)[1]
    return problems


def _check_mask(path: str, image: str, shape: tuple[int, int] | None) -> list[Problem]:
    mask, problems = _attempt(path, read_mask)
    if mask is not None and shape is not None and mask.shape != shape:
        sizes = f"{mask.shape[0]} x {mask.shape[1]} pixels, its image {image} has {shape[0]} x {shape[1]}"
        problems.append(Problem(path, f"has {sizes}"))
    if mask is not None and not (mask > 0).any():
        problems.append(Problem(path, "contains no nucleus"))
    return problems


def _attempt(path: str, read: Callable[[str], T]) -> tuple[T | None, list[Problem]]:
    try:
        return read(path), []
    except UserError as e:
        return None, [Problem(path, str(e).removeprefix(f"{path}:").removeprefix(path).strip())]


def _check_image(path: str, row: Any, channels: Sequence[str]) -> tuple[int, int]:
    with open_field(path) as field:
        named = pick_channels(field, channels_of_row(row, channels))
        for index in named if channels else range(len(field.channels)):
            plane = field.read(index)
            n_holes = int(plane.size - np.isfinite(plane).sum())
            if n_holes:
                raise UserError(f"{path}: channel {field.channel_name(index)} has {n_holes} NaN or infinite pixels.")
        height, width = field.shape
        return height, width
