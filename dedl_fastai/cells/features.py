"""`cell_features`: what a classifier of single cells sees of each: intensities, shape and the nearest cells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..errors import UserError
from .measure import RING_QUARTILES
from .positions import centres

NEAREST = 5  # neighbouring cells that are averaged
_MEASURES = ("Nucleus {} mean", "Nucleus {} median", "Ring {} mean", "Cell {} mean")
INTENSITIES = ("raw", "scaled")
FAR = 1000.0  # distance at which a cell counts as alone
_TINY = 1e-9  # a spread below it is that of a constant channel


def cell_features(
    cells: pd.DataFrame,  # of one field, from `measure_cells`
    channels: Sequence[str],  # names as in the table, in any case
    intensities: str = "raw",  # raw, scaled
    ring_quartiles: bool = False,  # also those of the ring, from `measure_cells` with `ring_quartiles`
) -> pd.DataFrame:
    """Return one row of features (float32) per cell, NaN where a channel has no value in a cell.

    Intensities are those of nucleus, ring and cell; a cell without a ring has the value of the nucleus. Scaled, they
    are less the median of the channel over the cells of the field, and divided by their interquartile range, so that a
    gain or an offset of a whole field changes nothing. Shape is area, eccentricity and solidity; the neighbourhood is
    the distance to the nearest and to the fifth nearest cell, and the mean intensities of the five nearest. Lengths are
    in um, or in pixels if the pixel size is unknown. Raises `UserError` if a channel is missing.
    """
    if intensities not in INTENSITIES:
        raise UserError(f"intensities={intensities!r} is unknown; it may be {' or '.join(INTENSITIES)}.")
    measures = (*_MEASURES[:-1], *(RING_QUARTILES if ring_quartiles else ()), _MEASURES[-1])
    names = table_channels(cells, channels)
    values = {c: _intensities(cells, name, measures) for c, name in zip(channels, names, strict=True)}
    if intensities == "scaled" and len(cells):
        values = {c: (v - np.nanmedian(v[:, -1])) / _spread(v[:, -1]) for c, v in values.items()}
    area = cells["area_px" if length_unit(cells) == "px" else "area_um2"]
    shape = pd.DataFrame({"area": area, "eccentricity": cells["eccentricity"], "solidity": cells["solidity"]})
    by_channel = {m.format(c): v[:, k] for c, v in values.items() for k, m in enumerate(measures)}
    near = _neighbourhood(centres(cells), {c: v[:, -1] for c, v in values.items()})
    parts = [pd.DataFrame(by_channel), shape.reset_index(drop=True), near]
    return pd.concat(parts, axis=1).astype(np.float32)


def length_unit(cells: pd.DataFrame) -> str:
    """The unit of the lengths among the features: um, or px if the pixel size is unknown."""
    return "px" if cells["x_um"].isna().any() else "um"


def measured_channels(cells: pd.DataFrame) -> list[str]:
    """The channels that `measure_cells` measured, in its order."""
    prefix, suffix = _MEASURES[0].split("{}")
    names = [str(c) for c in cells.columns]
    return [c[len(prefix) : -len(suffix)] for c in names if c.startswith(prefix) and c.endswith(suffix)]


def table_channels(cells: pd.DataFrame, channels: Sequence[str]) -> list[str]:
    """The channels as the table spells them. Raises a `UserError` that names the first one that is missing."""
    present = {c.lower(): c for c in measured_channels(cells)}
    missing = [c for c in channels if c.lower() not in present]
    if missing:
        raise UserError(
            f"the cells have no channel {missing[0]!r}, which the classifier needs: they have "
            f"{', '.join(present.values())}."
        )
    return [present[c.lower()] for c in channels]


def _intensities(cells: pd.DataFrame, channel: str, measures: Sequence[str]) -> np.ndarray:
    """(N, M): the measures of nucleus, ring and, last, cell; without a ring, the mean of the nucleus."""
    nucleus = cells[f"Nucleus {channel} mean"].to_numpy(float)
    columns = [cells.get(m.format(channel), pd.Series(np.nan, cells.index)).to_numpy(float) for m in measures]
    return np.stack([np.where(np.isnan(c), nucleus, c) for c in columns], axis=1)


def _spread(values: np.ndarray) -> float:
    low, high = np.nanpercentile(values, [25, 75])
    return float(high - low) if high - low > _TINY else 1.0


def _neighbourhood(points: np.ndarray, intensities: dict[str, np.ndarray]) -> pd.DataFrame:
    k = min(NEAREST, len(points) - 1)
    if k < 1:  # a cell alone is its own surroundings
        alone = {"nearest": np.full(len(points), FAR), "fifth nearest": np.full(len(points), FAR)}
        return pd.DataFrame(alone | {f"Near {c}": v for c, v in intensities.items()})
    distance, near = cKDTree(points).query(points, k=k + 1)
    columns = {"nearest": np.minimum(distance[:, 1], FAR), "fifth nearest": np.minimum(distance[:, -1], FAR)}
    around = {f"Near {c}": np.ma.masked_invalid(v[near[:, 1:]]).mean(axis=1) for c, v in intensities.items()}
    return pd.DataFrame(columns | {name: np.ma.filled(v, np.nan) for name, v in around.items()})
