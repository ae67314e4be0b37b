"""One row a cell: place, shape, intensities, phenotype and neighbours; fields summed up; who lies next to whom."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from skimage.segmentation import expand_labels

from ..errors import UserError
from ..io.fields.field import Field
from ..phenotypes.classify import classify_cells
from ..phenotypes.rules import Rules
from .instances import touches_border
from .shapes import Pixels, shape_table


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
    nuclei = Pixels.of(own, ids)
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


def check_thresholds(rules: Rules | None, thresholds: Mapping[str, float] | None) -> None:
    """`UserError` for thresholds that no rules ask for: they would do nothing."""
    if thresholds and rules is None:
        raise UserError("thresholds are for the markers of rules: give them.")


def add_phenotypes(
    tables: Mapping[str, pd.DataFrame],  # field -> what `measure_cells` returned
    rules: Rules,
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables with `phenotype` (categorical, empty where no rule fits) and `nearest_<phenotype>` distances.

    A marker is positive above the threshold given, else above Otsu's over the cells of all tables together, by the mean
    of nucleus and ring (of the nucleus without a ring): `.attrs["how"]` says it, `.attrs["thresholds"]` has the values.
    Distances are in um and in pixels where the pixel size is unknown, between centres, never to the cell itself.
    """
    found = classify_cells(tables, rules, thresholds)
    done = {}
    for name, table in tables.items():
        phenotype = pd.Categorical(found.classes[name].where(found.classes[name] != ""), categories=found.vocab)
        table = table.assign(phenotype=phenotype)
        table = table.assign(**_nearest(_points(table), table["phenotype"]))
        table.attrs |= {"how": found.how, "thresholds": found.thresholds}
        done[name] = table
    return done


def field_summary(
    cells: pd.DataFrame,  # what `measure_cells` returned
    tissue_mm2: float | None = None,  # area the cells were looked for in; without it no densities
) -> pd.DataFrame:
    """Cells, share of the cells and cells/mm2, one row a phenotype and a last one, "all", for every cell."""
    if tissue_mm2 is not None and not tissue_mm2 > 0:
        raise UserError(f"a tissue of {tissue_mm2:g} mm2 has no density: give its area, or none.")
    counts = _phenotypes(cells).value_counts(sort=False) if "phenotype" in cells else pd.Series(dtype=int)
    rows = pd.DataFrame({"phenotype": [*map(str, counts.index), "all"], "cells": [*counts, len(cells)]})
    rows["share"] = rows["cells"] / max(1, len(cells))
    rows["per_mm2"] = rows["cells"] / (tissue_mm2 or np.nan)
    return rows


def neighbourhoods(
    cells: pd.DataFrame,  # of one field, with a phenotype
    radius_um: float,  # in pixels where the pixel size is unknown
    permutations: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """How many cells of phenotype `to` lie within the radius of a cell of phenotype `from`, against chance.

    One row a pair: cells, observed mean, the mean expected and z when phenotypes are shuffled over the cells' places,
    and a two-sided permutation p (at least 2 / (permutations + 1); not corrected for the number of pairs). Cells
    without a phenotype are left out. Raises `UserError` for a table without phenotypes.
    """
    if "phenotype" not in cells:
        raise UserError("neighbourhoods need the phenotype of the cells: measure them with rules.")
    if not radius_um > 0 or permutations < 1:
        raise UserError(f"a radius of {radius_um:g} um and {permutations} permutations: both must be above 0.")
    named = cells[cells["phenotype"].notna()]
    phenotype = _phenotypes(named)
    codes, names = phenotype.cat.codes.to_numpy(np.int64), [str(c) for c in phenotype.cat.categories]
    pairs = (
        cKDTree(_points(named)).query_pairs(radius_um, output_type="ndarray") if len(named) else np.zeros((0, 2), int)
    )
    n = np.bincount(codes, minlength=len(names))
    observed = _contacts(codes, pairs, n)
    rng = np.random.default_rng(seed)
    chance = np.stack([_contacts(rng.permutation(codes), pairs, n) for _ in range(permutations)])
    return _against_chance(names, n, observed, chance)


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


def _ring(labels: np.ndarray, nuclei: Pixels, width_px: float) -> Pixels:
    grown = expand_labels(labels, width_px)
    grown[(labels > 0) | ~np.isin(grown, nuclei.ids)] = 0
    return Pixels.of(grown, nuclei.ids)


def _intensities(name: str, plane: np.ndarray, nuclei: Pixels, ring: Pixels | None) -> dict[str, np.ndarray]:
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


def _phenotypes(cells: pd.DataFrame) -> pd.Series:
    """The phenotypes as categories; a table read back from CSV has them as text."""
    given = cells["phenotype"]
    return given if isinstance(given.dtype, pd.CategoricalDtype) else given.astype("category")


def _points(cells: pd.DataFrame) -> np.ndarray:
    """Centres (n, 2) in um; in pixels where the pixel size is unknown."""
    unit = "px" if cells["x_um"].isna().any() else "um"
    return cells[[f"x_{unit}", f"y_{unit}"]].to_numpy(float)


def _nearest(points: np.ndarray, phenotype: pd.Series) -> dict[str, np.ndarray]:
    columns = {}
    for name in phenotype.cat.categories:
        own = (phenotype == name).to_numpy()
        distance = np.full((len(points), 2), np.nan)
        if own.any():  # the first hit of a cell of this phenotype is the cell itself
            distance = cKDTree(points[own]).query(points, k=2)[0]
        nearest = np.where(own, distance[:, 1], distance[:, 0])
        columns[f"nearest_{name}"] = np.where(np.isfinite(nearest), nearest, np.nan)
    return columns


def _contacts(codes: np.ndarray, pairs: np.ndarray, n: np.ndarray) -> np.ndarray:
    """(from, to) mean number of neighbours of a cell, from the pairs (i, j) of neighbours, each listed once."""
    k = len(n)
    one_way = np.bincount(codes[pairs[:, 0]] * k + codes[pairs[:, 1]], minlength=k * k).reshape(k, k)
    return (one_way + one_way.T) / np.where(n, n, np.nan)[:, None]


def _against_chance(names: list[str], n: np.ndarray, observed: np.ndarray, chance: np.ndarray) -> pd.DataFrame:
    spread = chance.std(axis=0)
    z = (observed - chance.mean(axis=0)) / np.where(spread > 0, spread, np.nan)
    above, below = ((chance >= observed - 1e-12).sum(axis=0), (chance <= observed + 1e-12).sum(axis=0))
    p = np.minimum(1.0, 2 * (np.minimum(above, below) + 1) / (len(chance) + 1))
    at, to = (index.ravel() for index in np.indices(observed.shape))
    return pd.DataFrame(
        {
            "from": [names[i] for i in at],
            "to": [names[i] for i in to],
            "cells_from": n[at],
            "cells_to": n[to],
            "observed": observed.ravel(),
            "expected": chance.mean(axis=0).ravel(),
            "z": z.ravel(),
            "p": np.where(np.isnan(observed), np.nan, p).ravel(),
        }
    )
