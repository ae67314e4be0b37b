"""`Design`: the features of all cells as a matrix, and which of them are labelled."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ...cells.features import cell_features, length_unit
from ...errors import UserError
from .labelled import LabelledCells


@dataclass(frozen=True)
class Design:
    """Rows are the cells of all fields, in the order of their tables."""

    cells: LabelledCells
    channels: list[str]
    keys: pd.DataFrame  # field, patient, split, group and type of each cell
    unit: str  # of lengths
    known: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, cells: LabelledCells, channels: list[str]) -> "Design":
        """Raise a `UserError` if some fields have a pixel size and others have none."""
        units = {length_unit(t) for t in cells.tables.values() if len(t)}
        if len(units) > 1:
            raise UserError("some fields have a pixel size and others have none: the areas of cells do not compare.")
        return cls(cells, channels, cells.keys, units.pop() if units else "um")

    def x(self, intensities: str) -> np.ndarray:
        """The features (N, F) of all cells, computed once."""
        if intensities not in self.known:
            parts = [
                cell_features(t, self.channels, intensities, ring_quartiles=True) for t in self.cells.tables.values()
            ]
            self.known[intensities] = pd.concat(parts).to_numpy()
        return self.known[intensities]

    def names(self, intensities: str) -> list[str]:
        """The names of the features."""
        first = next(iter(self.cells.tables.values()))
        return list(cell_features(first, self.channels, intensities, ring_quartiles=True).columns)

    def labelled(self, splits: Iterable[str]) -> np.ndarray:
        """Indices of the labelled cells of these splits; "all" stands for every split."""
        splits = list(splits)
        wanted = (self.keys.split.isin(splits) | ("all" in splits)) & self.keys.type.isin(self.cells.vocab)
        return np.flatnonzero(wanted.to_numpy())

    def usable(self, splits: Iterable[str]) -> np.ndarray:
        """The same for cells whose measurements are all known, which can be learned from."""
        at = self.labelled(splits)
        return at[~np.isnan(self.x("raw")[at]).any(axis=1)]

    def truth(self, at: np.ndarray) -> np.ndarray:
        """The true classes of these cells, as indices of the vocabulary."""
        return pd.Categorical(self.keys.type.to_numpy()[at], categories=self.cells.vocab).codes.astype(np.int64)

    def patients(self, at: np.ndarray) -> list[str]:
        """The patients of these cells."""
        return self.keys.patient.iloc[at].tolist()
