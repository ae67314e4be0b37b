"""`Gates`: the cut-offs of all markers, for a cohort or for each slide or patient; saved as gates.json."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ...errors import UserError
from ...io.field_names import patient_by
from ...io.files import read_json, write_json
from ..columns import compartment_of, intensity_column, markers_or_columns, plain_name
from .gate import Gate
from .mixture import Mixture

FILE = "gates.json"
ALL = "all"  # the group of gates that hold for the whole cohort


class Origin(NamedTuple):
    """Slide and patient of a table of cells, and the name of its field."""

    slide: str = ""
    patient: str = ""
    field: str = ""


@dataclass(frozen=True)
class Gates:
    """Cut-offs of markers: group (all, or the name of a slide or patient) -> marker -> gate."""

    groups: dict[str, dict[str, Gate]]
    per: str = "cohort"
    shift: str = "none"
    factors: dict[str, dict[str, float]] = field(default_factory=dict)  # marker -> slide -> factor of its intensities
    patient: str = ""  # the rule that found the patients in the names of fields; "": `Origin.patient` is right

    @property
    def markers(self) -> list[str]:
        """The markers, in order."""
        return list(dict.fromkeys(m for gates in self.groups.values() for m in gates))

    def save(self, path: str | Path) -> None:
        """Write the gates as JSON."""
        write_json(Path(path), {"version": 1, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> "Gates":
        """Read what `save` wrote. Raises `UserError` for another file."""
        data = read_json(path)
        try:
            groups = {
                group: {m: _gate(values) for m, values in gates.items()} for group, gates in data["groups"].items()
            }
            names = ("per", "shift", "factors")
            return cls(groups, **{name: data[name] for name in names}, patient=str(data.get("patient", "")))
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            raise UserError(f"{path} holds no gates ({e}): give a gates.json that gate or predict wrote.") from e

    def of(self, origin: Origin = Origin()) -> dict[str, Gate]:  # noqa: B008 (immutable)
        """The gates of a field, by marker. Raises `UserError` if there are none for its slide or patient."""
        group = self._group(origin)
        if group not in self.groups:
            raise UserError(
                f"the gates are for each {self.per} ({', '.join(self.groups)}), but not for {group or 'this field'!r}: "
                f"make gates for the whole cohort, or with cells of this {self.per} too."
            )
        return self.groups[group]

    def _group(self, origin: Origin) -> str:
        if self.per == "cohort":
            return ALL
        if self.per == "patient" and self.patient and origin.field:
            return patient_by(self.patient, origin.field)
        return getattr(origin, self.per)

    def common(self) -> dict[str, Gate]:
        """The gates that hold for the whole cohort, by marker; none if there are gates for each slide or patient."""
        return self.groups.get(ALL, {})

    def replaced(self, gates: Mapping[str, Gate]) -> "Gates":
        """These gates with others of some markers, which hold everywhere and without a shift."""
        groups = {group: {**of_group, **gates} for group, of_group in self.groups.items()}
        return replace(self, groups=groups, factors={m: f for m, f in self.factors.items() if m not in gates})

    def spelt_as(self, markers: Iterable[str]) -> "Gates":
        """These gates with the markers spelt as here: rules have FOXP3 where a table has FoxP3."""
        wanted = {plain_name(m): m for m in markers}
        names = {m: wanted.get(plain_name(m), m) for m in self.markers}
        groups = {
            group: {names[m]: replace(gate, marker=names[m]) for m, gate in of_group.items()}
            for group, of_group in self.groups.items()
        }
        return replace(self, groups=groups, factors={names[m]: f for m, f in self.factors.items()})

    def values(self, table: pd.DataFrame, marker: str, origin: Origin = Origin()) -> np.ndarray:  # noqa: B008
        """Intensities of a marker in a table, divided by the factor of its slide."""
        gate = self.of(origin)[marker]
        values = table[_column(table, gate)].to_numpy(float)
        return values / self._factor(marker, origin)

    def _factor(self, marker: str, origin: Origin) -> float:
        factors = self.factors.get(marker)
        if factors is None:
            return 1.0
        if origin.slide not in factors:
            raise UserError(
                f"the gates have a shift for each slide, but not for {origin.slide or 'this field'!r}: make gates with "
                f"cells of this slide, or without a shift."
            )
        return factors[origin.slide]

    def positive(self, table: pd.DataFrame, origin: Origin = Origin()) -> pd.DataFrame:  # noqa: B008
        """Whether each cell is positive: a boolean column for each marker, such as CD4.

        A marker with two cut-offs has CD4dim and CD4bright too. A cell without a value is not positive, and none is for
        a marker without a gate. Raises `UserError` if the table lacks a marker.
        """
        columns: dict[str, np.ndarray] = {}
        for marker in self.of(origin):
            columns |= self.levels(table, marker, origin)
        return pd.DataFrame(columns, index=table.index)

    def levels(self, table: pd.DataFrame, marker: str, origin: Origin = Origin()) -> dict[str, np.ndarray]:  # noqa: B008
        """The columns of `positive` that belong to one marker."""
        return self.of(origin)[marker].levels(self.values(table, marker, origin))


def _gate(values: Mapping[str, Any]) -> Gate:
    if not all(math.isfinite(values[name] or 0) for name in ("cut", "bright")):
        raise ValueError(f"the cut-off of {values['marker']} is not a number")
    mixture = values["mixture"]
    lists = {name: tuple(v) for name, v in mixture.items()} if mixture else {}
    changed = {"columns": tuple(values["columns"]), "mixture": Mixture(**lists) if mixture else None}
    return Gate(**{**values, **changed})


def _column(table: pd.DataFrame, gate: Gate) -> str:
    """The column of the gate's marker, measured in the same compartment."""
    own = [c for c in gate.columns if c in table]
    column = own[0] if own else intensity_column(table, gate.marker)
    where = table.attrs.get("path", "the table")
    if column is None:
        raise UserError(
            f"{where}: there is a gate for {gate.marker}, and no mean intensity of that name, but "
            f"{markers_or_columns(table)}."
        )
    if gate.columns and compartment_of(column) != compartment_of(gate.columns[0]):
        raise UserError(
            f"{where}: the gate for {gate.marker} is of {gate.columns[0]!r}, and the table has only {column!r}: "
            f"measure the cells in the same way."
        )
    return column
