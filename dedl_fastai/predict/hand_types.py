"""`with_hand_types`: the types that were given to nuclei by hand, in the table of the cells of a field."""

from pathlib import Path

import pandas as pd

from ..cells.phenotyping import with_types
from ..cells.positions import phenotypes_of
from ..inference.cell_types import OF_CLASS
from ..io.corrections import actions_in_force
from .corrections import read_actions, types_of

_OF_TYPES = ("phenotype", "nearest_", OF_CLASS)  # beginnings of the columns that depend on the types


def untyped(cells: pd.DataFrame) -> pd.DataFrame:
    """The table of cells without the columns that depend on their types."""
    return cells[[c for c in cells.columns if not str(c).startswith(_OF_TYPES)]]


def with_hand_types(cells: pd.DataFrame, folder: Path, name: str) -> pd.DataFrame:
    """The table of a field of results with the types from its log of corrections in place of others."""
    given = pd.Series(types_of(actions_in_force(read_actions(folder, name))), dtype=object)
    given = given[given.index.isin(cells["label"])]
    if given.empty:
        return cells
    before = phenotypes_of(cells) if "phenotype" in cells else pd.Series(pd.Categorical([None] * len(cells)))
    vocab = list(dict.fromkeys([*map(str, before.cat.categories), *given]))
    by_hand = cells["label"].map(given)
    types = by_hand.where(by_hand.notna(), before.astype(object)).fillna("")
    kept = cells[[c for c in cells.columns if c != "phenotype" and not str(c).startswith("nearest_")]]
    how = cells.attrs.get("how", "")
    return with_types(kept, types, vocab, how=f"{how}{'; ' if how else ''}types of {len(given)} cells by hand")
