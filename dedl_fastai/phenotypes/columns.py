"""Columns of cell tables that belong to a marker: 0/1 columns, inForm's phenotypes and mean intensities."""

import re
from functools import lru_cache

import numpy as np
import pandas as pd

_COMPARTMENTS = ("entirecell", "cell", "membrane", "cytoplasm", "nucleus")  # in order of preference


@lru_cache(maxsize=4096)  # asked for every column of every table, once for each marker
def plain_name(name: str) -> str:
    """The name in lower case without hyphens and spaces, so that "PD-1" equals "PD1"."""
    return re.sub(r"[\s-]", "", name).lower()


def marker_positivity(table: pd.DataFrame, marker: str) -> np.ndarray | None:
    """Positivity of each cell from a 0/1 column or inForm's consolidated `Phenotype CD8` ("CD8+", "CD8-"), or None."""
    wanted = plain_name(marker)
    for name in table.columns:
        if plain_name(name) == wanted and _is_number(table[name]) and _is_binary(table[name]):
            return (table[name] == 1).to_numpy()
        if plain_name(name) == f"phenotype{wanted}":
            return table[name].str.strip().str.endswith("+").to_numpy(bool)
    return None


def intensity_column(table: pd.DataFrame, marker: str) -> str | None:
    """Name of the column with the marker's mean intensity in the cell, else membrane, cytoplasm or nucleus, or None."""
    word = re.compile(rf"(?<![a-z0-9]){re.escape(marker.lower().replace('-', ''))}(?![a-z0-9])")
    mean = re.compile(r"(?<![a-z])mean(?![a-z])")
    names = {c: c.lower().replace("-", "") for c in table.columns}
    candidates = [c for c, n in names.items() if word.search(n) and mean.search(n)]
    candidates += [c for c in names if plain_name(c) == plain_name(marker) and not _is_binary(table[c])]
    candidates = [c for c in candidates if _is_number(table[c])]

    def rank(name: str) -> int:
        fits = (i for i, c in enumerate(_COMPARTMENTS) if plain_name(name).startswith(c))
        return next(fits, len(_COMPARTMENTS))

    return min(candidates, key=rank) if candidates else None


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def _is_binary(column: pd.Series) -> bool:
    return bool(column.dropna().isin([0, 1]).all())
