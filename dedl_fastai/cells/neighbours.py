"""Spatial statistics of phenotypes: distances to the nearest cell of each, and neighbourhood enrichment."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..errors import UserError


def neighbourhoods(
    cells: pd.DataFrame,  # of one field, with a phenotype
    radius_um: float,  # in pixels if the pixel size is unknown
    permutations: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Count the cells of phenotype `to` within a radius of each cell of phenotype `from`, and compare with chance.

    One row per pair of phenotypes: numbers of cells, observed mean, expected mean and z-score under random permutations
    of the phenotypes over the cells, and a two-sided permutation p-value (at least 2 / (permutations + 1), not
    corrected for the number of pairs). Cells without a phenotype are left out. Raises `UserError` for a table without
    phenotypes.
    """
    if "phenotype" not in cells:
        raise UserError("neighbourhoods need the phenotype of the cells: measure them with rules.")
    if not radius_um > 0 or permutations < 1:
        raise UserError(f"radius_um={radius_um:g}, permutations={permutations}: both must be above 0.")
    named = cells[cells["phenotype"].notna()]
    phenotype = phenotypes_of(named)
    codes, names = phenotype.cat.codes.to_numpy(np.int64), [str(c) for c in phenotype.cat.categories]
    pairs = (
        cKDTree(centres(named)).query_pairs(radius_um, output_type="ndarray") if len(named) else np.zeros((0, 2), int)
    )
    n = np.bincount(codes, minlength=len(names))
    observed = _contacts(codes, pairs, n)
    rng = np.random.default_rng(seed)
    chance = np.stack([_contacts(rng.permutation(codes), pairs, n) for _ in range(permutations)])
    return _against_chance(names, n, observed, chance)


def nearest_distances(points: np.ndarray, phenotype: pd.Series) -> dict[str, np.ndarray]:
    """Columns `nearest_<phenotype>`: distance of each cell to the nearest other cell of that phenotype, NaN if none."""
    columns = {}
    for name in phenotype.cat.categories:
        is_same = (phenotype == name).to_numpy()
        distance = np.full((len(points), 2), np.nan)
        if is_same.any():  # the nearest neighbour of a cell of this phenotype is the cell itself
            distance = cKDTree(points[is_same]).query(points, k=2)[0]
        nearest = np.where(is_same, distance[:, 1], distance[:, 0])
        columns[f"nearest_{name}"] = np.where(np.isfinite(nearest), nearest, np.nan)
    return columns


def phenotypes_of(cells: pd.DataFrame) -> pd.Series:
    """The phenotype column as categorical; a table read from CSV has text instead."""
    given = cells["phenotype"]
    return given if isinstance(given.dtype, pd.CategoricalDtype) else given.astype("category")


def centres(cells: pd.DataFrame) -> np.ndarray:
    """Centres (n, 2) as (x, y) in um, or in pixels if the pixel size is unknown."""
    unit = "px" if cells["x_um"].isna().any() else "um"
    return cells[[f"x_{unit}", f"y_{unit}"]].to_numpy(float)


def _contacts(codes: np.ndarray, pairs: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Mean number of neighbours per cell, indexed (from, to); `pairs` (i, j) lists each pair of neighbours once."""
    k = len(n)
    one_way = np.bincount(codes[pairs[:, 0]] * k + codes[pairs[:, 1]], minlength=k * k).reshape(k, k)
    return (one_way + one_way.T) / np.where(n, n, np.nan)[:, None]


def _against_chance(names: list[str], n: np.ndarray, observed: np.ndarray, chance: np.ndarray) -> pd.DataFrame:
    spread = chance.std(axis=0)
    z = (observed - chance.mean(axis=0)) / np.where(spread > 0, spread, np.nan)
    above, below = ((chance >= observed - 1e-12).sum(axis=0), (chance <= observed + 1e-12).sum(axis=0))
    p = np.minimum(1.0, 2 * (np.minimum(above, below) + 1) / (len(chance) + 1))
    source, target = (index.ravel() for index in np.indices(observed.shape))
    return pd.DataFrame(
        {
            "from": [names[i] for i in source],
            "to": [names[i] for i in target],
            "cells_from": n[source],
            "cells_to": n[target],
            "observed": observed.ravel(),
            "expected": chance.mean(axis=0).ravel(),
            "z": z.ravel(),
            "p": np.where(np.isnan(observed), np.nan, p).ravel(),
        }
    )
