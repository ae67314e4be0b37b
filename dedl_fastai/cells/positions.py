"""Where the cells of a field are: their centres, and the distance of each to the nearest cell of each type."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree


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
