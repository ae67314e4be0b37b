"""Which types of cells are next to each other more, or less, often than chance explains: neighbourhood enrichment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..errors import UserError
from .options import PERMUTATIONS, RADIUS_UM
from .positions import centres, phenotypes_of

TISSUE = "tissue"  # column with the tissue class of each cell


@dataclass(frozen=True)
class Contacts:
    """Numbers of neighbouring cells by their types, as observed and after each permutation; those of fields add up."""

    n: np.ndarray  # (K,) cells of each type
    observed: np.ndarray  # (K, K) from, to: each pair of neighbours counts in both directions
    chance: np.ndarray  # (P, K, K)

    def __add__(self, other: "Contacts") -> "Contacts":
        return Contacts(self.n + other.n, self.observed + other.observed, self.chance + other.chance)


def neighbourhoods(
    cells: pd.DataFrame | Sequence[pd.DataFrame],  # of a field, or of the fields of a patient; with a phenotype
    radius_um: float = RADIUS_UM,  # in pixels if the pixel size is unknown
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Count the cells of phenotype `to` within a radius of each cell of phenotype `from`, and compare with chance.

    Chance is a random permutation of the phenotypes over the cells of a field, and of each tissue class in it if there
    is a column `tissue`: that types are frequent in the same field or tissue is no evidence that they are neighbours.
    Contacts of several fields are added up before they are compared.

    One row per pair of phenotypes: numbers of cells, observed and expected mean number of neighbours, the logarithm
    `log2_ratio` of observed and expected contacts (one is added to both), z-score (that of squidpy's nhood_enrichment),
    and a two-sided permutation p-value (at least 2 / (permutations + 1)). `q` is corrected for the number of pairs by
    Benjamini and Hochberg, in which a pair counts once for both directions: they have the same contacts. Cells
    without a phenotype are left out. Raises `UserError` for a table without phenotypes.
    """
    tables = [cells] if isinstance(cells, pd.DataFrame) else list(cells)
    if not all("phenotype" in table for table in tables):
        raise UserError("neighbourhoods need the phenotype of the cells: measure them with rules.")
    if not radius_um > 0 or permutations < 1:
        raise UserError(f"radius_um={radius_um:g}, permutations={permutations}: both must be above 0.")
    tables = [table[table["phenotype"].notna()] for table in tables]
    names = list(dict.fromkeys(str(c) for table in tables for c in phenotypes_of(table).cat.categories))
    contacts = [
        _contacts(table, names, radius_um, permutations=permutations, rng=np.random.default_rng([seed, i]))
        for i, table in enumerate(tables)
    ]
    return _against_chance(names, sum(contacts[1:], contacts[0]))


def _contacts(
    cells: pd.DataFrame, names: Sequence[str], radius: float, *, permutations: int, rng: np.random.Generator
) -> Contacts:
    """The contacts in a field."""
    k = len(names)
    codes = pd.Index(names).get_indexer(pd.Index(cells["phenotype"].astype(str)))
    near = cKDTree(centres(cells)).query_pairs(radius, output_type="ndarray") if len(cells) else np.zeros((0, 2), int)
    strata = [np.arange(len(cells))]
    if TISSUE in cells:
        tissue = cells[TISSUE].astype(str)
        strata = [np.flatnonzero(tissue == name) for name in tissue.unique()]

    def count(codes: np.ndarray) -> np.ndarray:
        one_way = np.bincount(codes[near[:, 0]] * k + codes[near[:, 1]], minlength=k * k).reshape(k, k)
        return one_way + one_way.T

    def shuffled() -> np.ndarray:
        result = codes.copy()
        for at in strata:
            result[at] = rng.permutation(codes[at])
        return result

    chance = np.stack([count(shuffled()) for _ in range(permutations)])
    return Contacts(np.bincount(codes, minlength=k), count(codes), chance)


def _against_chance(names: Sequence[str], contacts: Contacts) -> pd.DataFrame:
    observed, chance = contacts.observed, contacts.chance
    expected, spread = chance.mean(axis=0), chance.std(axis=0)
    per_cell = np.where(contacts.n, contacts.n, np.nan)[:, None]
    is_known = np.outer(contacts.n, contacts.n) > 0
    above, below = (chance >= observed).sum(axis=0), (chance <= observed).sum(axis=0)
    p = np.minimum(1.0, 2 * (np.minimum(above, below) + 1) / (len(chance) + 1))
    p = np.where(is_known, p, np.nan)
    source, target = (index.ravel() for index in np.indices(observed.shape))
    columns = {
        "observed": observed / per_cell,
        "expected": expected / per_cell,
        "log2_ratio": np.where(is_known, np.log2((observed + 1) / (expected + 1)), np.nan),
        "z": (observed - expected) / np.where(spread > 0, spread, np.nan),
        "p": p,
        "q": _corrected(p),
    }
    return pd.DataFrame(
        {
            "from": np.array(names, dtype=object)[source],
            "to": np.array(names, dtype=object)[target],
            "cells_from": contacts.n[source],
            "cells_to": contacts.n[target],
            **{name: values.ravel() for name, values in columns.items()},
        }
    )


def _corrected(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's q of a symmetric matrix of p, in which each pair of types counts once."""
    upper = np.triu_indices(len(p))
    q = np.full(p.shape, np.nan)
    q[upper] = corrected(p[upper])
    return np.fmax(q, q.T)


def corrected(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's q of several p; NaN where p is."""
    from scipy.stats import false_discovery_control  # takes a while to import, and predict has to start quickly

    q, is_known = np.full(len(p), np.nan), ~np.isnan(p)
    q[is_known] = false_discovery_control(p[is_known])
    return q
