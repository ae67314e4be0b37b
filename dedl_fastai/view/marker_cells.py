"""`MarkerCells`: the intensities of a marker in all fields, and its cut-offs, as they are at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import UserError
from ..phenotypes.gates.gate import Gate
from ..phenotypes.gates.gates import Gates
from ..predict.folder_gates import origin_of


@dataclass(frozen=True)
class MarkerCells:
    """The cells of all fields that have a marker, with gates of which one is the marker's."""

    marker: str
    gates: Gates
    tables: Mapping[str, pd.DataFrame]  # field -> label, place and intensity of its cells

    def gate(self, field: str) -> Gate:
        """The cut-off that holds for a field."""
        return self.gates.of(origin_of(field))[self.marker]

    def values(self, field: str) -> np.ndarray:
        """The intensities of the cells of a field, in the units of the cut-off."""
        return self.gates.values(self.table(field), self.marker, origin_of(field))

    def table(self, field: str) -> pd.DataFrame:
        """The cells of a field. Raises `UserError` if it has none with this marker."""
        if field not in self.tables:
            raise UserError(
                f"the field {field!r} has no table of cells with {self.marker}: let predict write it (write=cells)."
            )
        return self.tables[field]

    def of_group(self, field: str) -> list[np.ndarray]:
        """The intensities of the cells that share the cut-off of a field, field by field."""
        gate = self.gate(field)
        return [self.values(name) for name in self.tables if self.gate(name) is gate]
