"""`measure_cells`: the table of cells, with position, shape, intensities and, given rules, phenotype of each cell."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from skimage.segmentation import expand_labels

from ..errors import UserError
from ..io.fields.field import Field
from ..phenotypes.gates.fit import Cuts
from ..phenotypes.rules import Rules
from .phenotyping import add_phenotypes, check_thresholds
from .shapes import ObjectPixels, shape_table
from .watershed import touches_border

RING_QUARTILES = ("Ring {} lower quartile", "Ring {} median", "Ring {} upper quartile")


def has_ring_quartiles(table: pd.DataFrame) -> bool:
    """Whether the cells of a table were measured with `ring_quartiles`."""
    end = RING_QUARTILES[-1].partition("{}")[2]
    return any(str(column).endswith(end) for column in table)


def measure_cells(
    labels: np.ndarray,  # ids of nuclei (H, W), 0 is background; ids may have gaps
    field: Field | Mapping[str, np.ndarray],
    pixel_size_um: float | None = None,  # default: the field's; if unknown, um columns are empty
    origin_um: tuple[float, float] | None = None,  # (x, y) of the upper left corner; default: the field's, else 0
    ring_um: float = 2.0,  # width of the ring around a nucleus (in pixels if the pixel size is unknown), 0: no ring
    channels: Sequence[str] | None = None,  # default: all
    probability: np.ndarray | None = None,  # (H, W); the table gets its mean over each nucleus
    uncertainty: np.ndarray | None = None,  # (H, W), likewise
    rules: Rules | None = None,  # for phenotypes, see `add_phenotypes`
    thresholds: Mapping[str, Cuts] | None = None,  # marker -> intensity above which a cell is positive
    at: tuple[int, int] | None = None,  # where labels and arrays of a part begin in the field, (y, x)
    ids: np.ndarray | None = None,  # cells to measure, ascending; default: all. Others still limit the rings
    ring_quartiles: bool = False,  # also the quartiles of the ring's pixels
) -> pd.DataFrame:
    """Measure every cell: one row per cell, sorted by label.

    The intensity columns are `Nucleus <channel> mean|median|sum`, `Ring <channel> mean` (NaN where neighbours leave no
    room for a ring) and `Cell <channel> mean` (nucleus and ring together), in the field's units. With `ring_quartiles`
    there are also `Ring <channel> lower quartile|median|upper quartile`: a bright neighbour raises the upper one of a
    cell, and its own signal, which is all around it, raises the lower one. `x_um` and `y_um` are
    slide coordinates; the centre of pixel (0, 0) is half a pixel from the origin. `touches_border` refers to the edge
    of `labels`. Raises `UserError` for planes of another shape, and for thresholds without rules.
    """
    check_thresholds(rules, thresholds)
    planes = _planes(field, channels, at, labels.shape)
    pixel_size_um = pixel_size_um or getattr(field, "pixel_size_um", None)
    origin = origin_um or getattr(field, "origin_um", None) or (0.0, 0.0)
    selected = labels if ids is None else np.where(np.isin(labels, ids), labels, 0)
    nuclei = ObjectPixels.of(selected, ids)
    table = _with_positions(shape_table(selected, nuclei), at or (0, 0), pixel_size_um, origin)
    table["touches_border"] = np.isin(nuclei.ids, touches_border(selected))
    ring = _ring(labels, nuclei, ring_um / (pixel_size_um or 1.0)) if ring_um > 0 else None
    columns: dict[str, np.ndarray] = {}
    for name, read in planes.items():
        pixels = _checked(read(), labels.shape, name)
        columns |= _intensities(name, pixels, nuclei, ring)
        if ring is not None and ring_quartiles:
            columns |= _quartiles(name, pixels, ring)
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
    """Channel name -> function that reads its plane of this shape, so that one plane is in memory at a time."""
    if isinstance(field, Field):
        region = (0, None, 0, None) if at is None else (at[0], at[0] + shape[0], at[1], at[1] + shape[1])
        indices = [field.channel_index(c) for c in (field.channels if channels is None else channels)]
        return {field.channel_name(i): partial(field.read, i, *region) for i in indices}
    missing = [c for c in channels or () if c not in field]
    if missing:
        raise UserError(f"there is no channel {missing[0]!r}: the field has {', '.join(field)}.")
    return {c: partial(field.__getitem__, c) for c in (field if channels is None else channels)}


def _checked(plane: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if plane.shape != shape:
        raise UserError(f"{name} has shape {plane.shape} and the labels have {shape}: give labels of the same field.")
    return plane


def _with_positions(
    table: pd.DataFrame, at: tuple[int, int], pixel_size_um: float | None, origin: tuple[float, float]
) -> pd.DataFrame:
    scale = pixel_size_um or np.nan
    table = table.assign(x_px=table["x_px"] + at[1], y_px=table["y_px"] + at[0])
    x_um, y_um = origin[0] + (table["x_px"] + 0.5) * scale, origin[1] + (table["y_px"] + 0.5) * scale
    return table.assign(
        x_um=x_um, y_um=y_um, area_um2=table["area_px"] * scale**2, perimeter_um=table["perimeter_px"] * scale
    )


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


def _quartiles(name: str, plane: np.ndarray, ring: ObjectPixels) -> dict[str, np.ndarray]:
    names = (measure.format(name) for measure in RING_QUARTILES)
    return dict(zip(names, ring.quantiles(plane, (0.25, 0.5, 0.75)), strict=True))
