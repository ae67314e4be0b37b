"""`measure_cells`: one row a cell with its position, shape, intensities and, with rules, its phenotype."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from skimage.segmentation import expand_labels

from ..errors import UserError
from ..io.fields.field import Field
from ..phenotypes.rules import Rules
from .phenotyping import add_phenotypes, check_thresholds
from .shapes import ObjectPixels, shape_table
from .watershed import touches_border


def measure_cells(
    labels: np.ndarray,  # ids of nuclei (H, W), 0 is background; ids need not run through
    field: Field | Mapping[str, np.ndarray],
    pixel_size_um: float | None = None,  # default: the field's; without any, um columns are empty
    origin_um: tuple[float, float] | None = None,  # (x, y) of the upper left corner; default: the field's, else 0
    ring_um: float = 2.0,  # width of the ring round the nucleus (in pixels without a pixel size), 0 for none
    channels: Sequence[str] | None = None,  # default: all
    probability: np.ndarray | None = None,  # (H, W), its mean goes into the table
    uncertainty: np.ndarray | None = None,
    rules: Rules | None = None,  # phenotype, see `add_phenotypes`
    thresholds: Mapping[str, float] | None = None,  # marker -> intensity above which a cell is positive
    at: tuple[int, int] | None = None,  # labels, and arrays, are of a part of the field that begins at this (y, x)
    ids: np.ndarray | None = None,  # cells to measure, ascending; default: all. The others take their part of rings
) -> pd.DataFrame:
    """Measurements of every cell, rows in the order of their labels.

    `Nucleus <channel> mean|median|sum`, `Ring <channel> mean` (NaN where neighbours leave no ring) and
    `Cell <channel> mean` (nucleus and ring together), in the field's units. `x_um`, `y_um` lie on the slide: pixel
    (0, 0) has its centre half a pixel from the origin. `touches_border` is of the labels' edge. Raises `UserError` for
    planes of another shape, and for thresholds without rules.
    """
    check_thresholds(rules, thresholds)
    planes = _planes(field, channels, at, labels.shape)
    pixel_size_um = pixel_size_um or getattr(field, "pixel_size_um", None)
    origin = origin_um or getattr(field, "origin_um", None) or (0.0, 0.0)
    own = labels if ids is None else np.where(np.isin(labels, ids), labels, 0)
    nuclei = ObjectPixels.of(own, ids)
    table = _places(shape_table(own, nuclei), at or (0, 0), pixel_size_um, origin)
    table["touches_border"] = np.isin(nuclei.ids, touches_border(own))
    ring = _ring(labels, nuclei, ring_um / (pixel_size_um or 1.0)) if ring_um > 0 else None
    columns = {}
    for name, read in planes.items():
        columns |= _intensities(name, _checked(read(), labels.shape, name), nuclei, ring)
    for name, plane in (("probability", probability), ("uncertainty", uncertainty)):
        if plane is not None:
            columns[name] = nuclei.mean(_checked(plane, labels.shape, name))
    table = pd.concat([table, pd.DataFrame(columns, index=table.index)], axis=1)
    table.attrs["pixel_size_um"] = pixel_size_um
    return table if rules is None else add_phenotypes({"the cells": table}, rules, thresholds)["the cells"]


def _planes(
    field: Field | Mapping[str, np.ndarray],
    channels: Sequence[str] | None,
    at: tuple[int, int] | None,
    shape: tuple[int, int],
) -> dict[str, Callable[[], np.ndarray]]:
    """Channel name -> function that reads its part of this shape: one plane in memory at a time."""
    if isinstance(field, Field):
        part = (0, None, 0, None) if at is None else (at[0], at[0] + shape[0], at[1], at[1] + shape[1])
        indices = [field.channel_index(c) for c in (field.channels if channels is None else channels)]
        return {field.channels[i]: lambda i=i: field.read(i, *part) for i in indices}
    missing = [c for c in channels or () if c not in field]
    if missing:
        raise UserError(f"there is no channel {missing[0]!r}: the field has {', '.join(field)}.")
    return {c: lambda c=c: field[c] for c in (field if channels is None else channels)}


def _checked(plane: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    if plane.shape != shape:
        raise UserError(f"{name} is {plane.shape} and the labels are {shape}: give labels of the same field.")
    return plane


def _places(table: pd.DataFrame, at: tuple[int, int], size: float | None, origin: tuple[float, float]) -> pd.DataFrame:
    scale = size or np.nan
    table = table.assign(x_px=table["x_px"] + at[1], y_px=table["y_px"] + at[0])
    places = {"x_um": origin[0] + (table["x_px"] + 0.5) * scale, "y_um": origin[1] + (table["y_px"] + 0.5) * scale}
    return table.assign(**places, area_um2=table["area_px"] * scale**2, perimeter_um=table["perimeter_px"] * scale)


def _ring(labels: np.ndarray, nuclei: ObjectPixels, width_px: float) -> ObjectPixels:
    grown = expand_labels(labels, width_px)
    grown[(labels > 0) | ~np.isin(grown, nuclei.ids)] = 0
    return ObjectPixels.of(grown, nuclei.ids)


def _intensities(
    name: str, plane: np.ndarray, nuclei: ObjectPixels, ring: ObjectPixels | None
) -> dict[str, np.ndarray]:
    total = nuclei.sum(plane)
    columns = {
        f"Nucleus {name} mean": total / nuclei.area,
        f"Nucleus {name} median": nuclei.median(plane),
        f"Nucleus {name} sum": total,
    }
    if ring is not None:
        around = ring.sum(plane)
        columns[f"Ring {name} mean"] = around / np.where(ring.area, ring.area, np.nan)
        columns[f"Cell {name} mean"] = (total + around) / (nuclei.area + ring.area)
    return columns
