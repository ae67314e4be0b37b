"""Which markers a cell is positive for, as rules ask: by the table's 0/1 columns, by given cut-offs, or by gates."""

import logging
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from ..errors import UserError
from .columns import intensity_column, marker_positivity, markers_or_columns, plain_name
from .gates.fit import Cuts, fit_gates
from .gates.gate import HAND, Gate
from .gates.gates import ALL, Gates, Origin
from .rules import Rules

log = logging.getLogger(__name__)


def given_by_marker(given: Mapping[str, Cuts], rules: Rules) -> dict[str, Cuts]:
    """The given thresholds with the markers spelt as in the rules. Raises `UserError` for one that no rule has."""
    known = {plain_name(m): m for m in rules.markers}
    unknown = [m for m in given if plain_name(m) not in known]
    if unknown:
        raise UserError(f"a threshold is given for {unknown[0]}, which no rule asks for: {', '.join(rules.markers)}.")
    return {known[plain_name(m)]: cuts for m, cuts in given.items()}


def gates_of_rules(
    tables: Mapping[str, pd.DataFrame],  # field -> table of cells
    rules: Rules,
    *,
    given: Mapping[str, Cuts],  # marker, spelt as in the rules -> threshold
    gates: Gates | None = None,  # None: determine one gate for each marker without a given threshold
    fit_on: Collection[str] | None = None,  # fields that gates are determined from; default: all
) -> Gates:
    """Return the gates of the markers whose intensities are used, that is those without a 0/1 column, and given ones.

    Raises `UserError` if the gates lack a marker, or the second cut-off of one that the rules ask to be dim or bright.
    """
    gates = gates and gates.spelt_as(rules.markers)
    gated = {*given, *(_common_markers(gates, rules) if gates else ())}
    measured: dict[str, dict[str, pd.DataFrame]] = {}  # marker -> tables
    for name, table in tables.items():
        for marker in rules.markers:
            if _is_measured(table, name, marker, is_gated=marker in gated):
                measured.setdefault(marker, {})[name] = table
    by_marker: dict[str, Gate] = {}
    for marker, having in measured.items():
        if gates is None or marker in given:
            fitted = {n: t for n, t in having.items() if fit_on is None or n in fit_on} or having
            by_marker |= fit_gates(fitted, [marker], given=given, two_cuts=rules.with_two_cuts).common()
    for gate in by_marker.values():
        if gate.cut is None:
            log.warning("%s: no gate (%s): no cell counts as positive", gate.marker, gate.reason)
    result = Gates({ALL: by_marker}) if gates is None else gates.replaced(by_marker)
    _check(result, rules, measured)
    return result


def _common_markers(gates: Gates, rules: Rules) -> list[str]:
    return [m for m in rules.markers if m in gates.markers]


def _is_measured(table: pd.DataFrame, name: str, marker: str, is_gated: bool) -> bool:
    """Whether the marker's intensities are used: if it has a gate, or the table has no 0/1 column of it."""
    is_binary, column = marker_positivity(table, marker) is not None, intensity_column(table, marker)
    if column is None and not is_binary:
        raise UserError(
            f"{table.attrs.get('path', name)}: the rules need the marker {marker}, and there is neither a mean "
            f"intensity nor a 0/1 column of it, but {markers_or_columns(table)}: choose other `rules`."
        )
    return column is not None and (is_gated or not is_binary)


def _check(gates: Gates, rules: Rules, measured: Collection[str]) -> None:
    missing = [m for m in measured if m not in gates.markers]
    if missing:
        raise UserError(
            f"the gates have none for {missing[0]}, which the rules need, but for {', '.join(gates.markers)}: make "
            f"them with these `rules`, or give a threshold for it."
        )
    for marker in rules.with_two_cuts:
        if marker in measured and any(of[marker].n_cuts < 2 for of in gates.groups.values()):
            raise UserError(
                f"the rules ask whether cells are dim or bright for {marker}, and its gate has one cut-off: give two, "
                f"such as {marker}=2.5/8, or make the gates with these `rules`."
            )


def levels_of(table: pd.DataFrame, name: str, rules: Rules, *, gates: Gates, origin: Origin) -> pd.DataFrame:
    """A boolean column for each term of the rules: by the gates, or by the table's 0/1 columns for other markers."""
    columns: dict[str, np.ndarray] = {}
    for marker in rules.markers:
        if marker in gates.markers and intensity_column(table, marker) is not None:
            columns |= gates.levels(table, marker, origin)
            continue
        for term in (str(t) for t in rules.terms if t.marker == marker):
            positive = marker_positivity(table, term)
            if positive is None:
                raise UserError(f"{table.attrs.get('path', name)} has no 0/1 column {term}, which the rules ask for.")
            columns[term] = positive
    return pd.DataFrame(columns, index=table.index)


def described(tables: Mapping[str, pd.DataFrame], rules: Rules, gates: Gates) -> str:
    """A phrase on how each marker was determined."""
    binary = [
        m
        for m in rules.markers
        if m not in gates.markers or any(intensity_column(t, m) is None for t in tables.values())
    ]
    phrases = [f"{', '.join(binary)} by the tables' 0/1 columns"] if binary else []
    phrases += [_phrase(m, [of[m] for of in gates.groups.values()], gates) for m in rules.markers if m in gates.markers]
    return "; ".join(phrases)


def _phrase(marker: str, of_groups: list[Gate], gates: Gates) -> str:
    gate = of_groups[0]
    cuts = sorted(g.cut for g in of_groups if g.cut is not None)
    if not cuts:
        return f"{marker} never positive (no gate: {gate.reason})"
    columns = ", ".join(map(repr, gate.columns))
    if len(of_groups) > 1:
        return f"{marker} positive above {cuts[0]:.4g} to {cuts[-1]:.4g} (a gate for each {gates.per}) in {columns}"
    bright = f", bright above {gate.bright:.4g}," if gate.bright is not None else ""
    if gate.method == HAND:
        return f"{marker} positive above {gate.cut:g}{bright} (given) in {columns}"
    cells = f"{gate.cells} cells" + (f" of {gate.tables} fields" if gate.tables > 1 else "")
    return f"{marker} positive above {gate.cut:.4g}{bright} ({gate.method} over {cells}) in {columns}"
