"""Columns of cell tables that belong to a marker: 0/1 columns, inForm's phenotypes and mean intensities."""

import re
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import pandas as pd

COMPARTMENTS = {  # name in rules -> beginning of the columns' names, in order of preference
    "cell": ("entirecell", "cell"),
    "membrane": ("membrane",),
    "cytoplasm": ("cytoplasm",),
    "nucleus": ("nucleus",),
    "ring": ("ring",),
}
_NO_MARKERS = ("dapi", "hoechst", "autofluorescence", "af", "sampleaf")  # channels that no cell type depends on
_PLACES = "|".join(("Entire Cell", "Cell", "Membrane", "Cytoplasm", "Nucleus", "Ring"))
_MEAN = re.compile(rf"(?:{_PLACES}) (.+?)(?: \([^()]*\))? mean(?: \(.*\))?|(.+)_mean", re.IGNORECASE)


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
    """Name of the column with a marker's mean intensity, or None.

    That is the mean in the cell, else in membrane, cytoplasm or nucleus, or in the compartment that the marker names:
    "CD4@ring". Rules have no spaces: Alexa594 is the column of Alexa 594.
    """
    marker, _, compartment = marker.partition("@")
    letters = " ?".join(map(re.escape, plain_name(marker)))
    word = re.compile(rf"(?<![a-z0-9]){letters}(?![a-z0-9])")
    mean = re.compile(r"(?<![a-z])mean(?![a-z])")
    names = {c: c.lower().replace("-", "") for c in table.columns}
    candidates = [c for c, n in names.items() if word.search(n) and mean.search(n)]
    candidates += [c for c in names if plain_name(c) == plain_name(marker) and not _is_binary(table[c])]
    candidates = [c for c in candidates if _is_number(table[c])]
    if compartment:
        candidates = [c for c in candidates if compartment_of(c) == compartment.lower()]
    ranks = ["", *COMPARTMENTS]
    return min(candidates, key=lambda c: ranks.index(compartment_of(c)) or len(ranks)) if candidates else None


def compartment_of(column: str) -> str:
    """The compartment in which a column was measured, as rules name it; "" if the column does not say."""
    name = plain_name(column)
    return next((c for c, starts in COMPARTMENTS.items() if name.startswith(starts)), "")


def markers_in(columns: Iterable[str]) -> list[str]:
    """Markers with a column of mean intensities, such as CD4 of "Cell CD4 (Opal 650) mean"; no counterstain."""
    found = (m[1] or m[2] for c in columns if (m := _MEAN.fullmatch(str(c))))
    return list(dict.fromkeys(m for m in found if plain_name(m) not in _NO_MARKERS))


def markers_or_columns(table: pd.DataFrame) -> str:
    """Return what a message says that a table has: its markers, or if none is measured its first columns."""
    return ", ".join(markers_in(table.columns) or [str(c) for c in table.columns[:12]])


def _is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers; the file of a field without cells does not tell."""
    return not len(column) or pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def _is_binary(column: pd.Series) -> bool:
    return bool(column.dropna().isin([0, 1]).all())
