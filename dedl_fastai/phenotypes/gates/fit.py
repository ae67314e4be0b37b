"""`fit_gates`: the cut-offs of markers from the cells of many fields."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ...errors import UserError
from ..columns import compartment_of, intensity_column, markers_in
from .gate import Gate
from .gates import ALL, Gates, Origin
from .one_marker import gate_of
from .options import GateOptions
from .shifts import slide_factors

Cuts = float | Sequence[float]  # one cut-off, or that of dim and that of bright cells


def fit_gates(
    tables: Mapping[str, pd.DataFrame],  # field -> table of cells
    markers: Iterable[str],  # such as CD4, or CD4@ring
    options: GateOptions | None = None,
    *,
    given: Mapping[str, Cuts] | None = None,  # marker -> cut-offs by hand
    two_cuts: Iterable[str] = (),  # markers of which dim and bright cells are looked for
    origins: Mapping[str, Origin] | None = None,  # field -> slide and patient, for gates of each and for shifts
    control: Sequence[pd.DataFrame] = (),  # tables of a negative control, for method=quantile
) -> Gates:
    """Determine one gate per marker, or one per marker and slide or patient.

    A marker without two groups of cells has a gate without a cut-off and with the reason. Raises `UserError` if a table
    lacks a marker, or if the tables measure it in different compartments.
    """
    options, given, two_cuts = options or GateOptions(), given or {}, set(two_cuts)
    origins = origins or dict.fromkeys(tables, Origin())
    groups: dict[str, dict[str, Gate]] = {g: {} for g in _groups(options, origins.values())}
    factors: dict[str, dict[str, float]] = {}
    for marker in markers:
        columns = {name: _column_of(table, name, marker) for name, table in tables.items()}
        _check_compartments(columns, marker)
        values = {name: table[columns[name]].to_numpy(float) for name, table in tables.items()}
        if options.shift != "none":
            factors[marker] = slide_factors(_by_slide(values, origins), options.shift)
            values = {name: v / factors[marker][origins[name].slide] for name, v in values.items()}
        of_control = [t[_column_of(t, "the negative control", marker)].to_numpy(float) for t in control]
        for group, gates in groups.items():
            inside = [n for n in values if options.per == "cohort" or getattr(origins[n], options.per) == group]
            gates[marker] = gate_of(
                marker,
                [values[n] for n in inside],
                columns=sorted({columns[n] for n in inside}),
                options=options,
                given=_as_list(given.get(marker)),
                control=np.concatenate(of_control) if of_control else None,
                n_cuts=2 if marker in two_cuts else 1,
            )
    return Gates(groups, options.per, options.shift, factors)


def _groups(options: GateOptions, origins: Iterable[Origin]) -> list[str]:
    if options.per == "cohort":
        return [ALL]
    return sorted({getattr(origin, options.per) for origin in origins})


def _as_list(cuts: Cuts | None) -> Sequence[float] | None:
    return cuts if cuts is None or isinstance(cuts, Sequence) else [cuts]


def _by_slide(values: Mapping[str, np.ndarray], origins: Mapping[str, Origin]) -> dict[str, np.ndarray]:
    slides: dict[str, list[np.ndarray]] = {}
    for name, of_field in values.items():
        slides.setdefault(origins[name].slide, []).append(of_field)
    return {slide: np.concatenate(parts) for slide, parts in slides.items()}


def _column_of(table: pd.DataFrame, name: str, marker: str) -> str:
    column = intensity_column(table, marker)
    if column is None:
        known = ", ".join(markers_in(table.columns)) or "no marker"
        raise UserError(
            f"{table.attrs.get('path', name)} has no mean intensity of {marker}: its columns are of {known}."
        )
    return column


def _check_compartments(columns: Mapping[str, str], marker: str) -> None:
    places = {compartment_of(column): name for name, column in columns.items()}
    if len(places) > 1:
        (a, b), (m, n) = list(places)[:2], list(places.values())[:2]
        raise UserError(
            f"{marker} is measured in {a or 'an unnamed compartment'} in {m} and in {b or 'an unnamed one'} in {n}: "
            f"measure both alike, or name a compartment that all have, such as {marker}@nucleus."
        )
