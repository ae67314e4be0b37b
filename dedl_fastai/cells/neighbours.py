"""Who lies next to whom: distances to the nearest cell of each phenotype, and neighbours against chance."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..errors import UserError


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
    """`nearest_<phenotype>`: the distance of each cell to the nearest other cell of that phenotype, NaN if none."""
    columns = {}
    for name in phenotype.cat.categories:
        own = (phenotype == name).to_numpy()
        distance = np.full((len(points), 2), np.nan)
        if own.any():  # the first hit of a cell of this phenotype is the cell itself
            distance = cKDTree(points[own]).query(points, k=2)[0]
        nearest = np.where(own, distance[:, 1], distance[:, 0])
        columns[f"nearest_{name}"] = np.where(np.isfinite(nearest), nearest, np.nan)
    return columns


def phenotypes_of(cells: pd.DataFrame) -> pd.Series:
    """The phenotypes as categories; a table read back from CSV has them as text."""
    given = cells["phenotype"]
    return given if isinstance(given.dtype, pd.CategoricalDtype) else given.astype("category")


def centres(cells: pd.DataFrame) -> np.ndarray:
    """Centres (n, 2) in um; in pixels where the pixel size is unknown."""
    unit = "px" if cells["x_um"].isna().any() else "um"
    return cells[[f"x_{unit}", f"y_{unit}"]].to_numpy(float)


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
