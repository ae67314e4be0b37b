"""The gates of a folder of results: given, kept in its gates.json, or made once from the cells of all fields."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from ..data.patients import patient_of, slide_of
from ..errors import UserError
from ..io.corrections import FOLDER
from ..phenotypes.columns import intensity_column
from ..phenotypes.gates.gates import FILE, Gates, Origin
from ..phenotypes.marker_levels import gates_of_rules, given_by_marker
from ..phenotypes.rules import Rules
from .options import CellOptions
from .record import Record

log = logging.getLogger(__name__)


def origin_of(field: str) -> Origin:
    """Slide and patient of a field, from its name; gates may have another rule for the patient."""
    return Origin(slide_of(field), patient_of(field), field)


def known_gates(out: Path, options: CellOptions, kept: Iterable[Record], settings: Mapping) -> Gates | None:
    """The gates that are given, or those with which the kept results of the folder were made; None if there are none.

    Raises `UserError` if the kept results need gates that are missing.
    """
    if options.gates:
        return Gates.load(options.gates)
    with_rules = [r for r in kept if r["settings"].get("rules")]
    if any("gates" not in r["settings"] for r in with_rules):
        raise UserError(
            f"{out} holds results of an earlier version, with cut-offs of each field: choose another `out`, or replace "
            f"them with `overwrite`."
        )
    own = {name: value for name, value in settings.items() if name != "radius_um"}
    alike = [r for r in with_rules if all(r["settings"].get(name) == value for name, value in own.items())]
    if not alike or not makes_gates(options):
        return None
    if not (out / FILE).is_file():
        raise UserError(
            f"{out} holds results, but not the {FILE} with the cut-offs of their markers: put it back, choose another "
            f"`out`, or replace the results with `overwrite`."
        )
    log.info("the cut-offs of %s are used, with which %d fields were made", out / FILE, len(alike))
    return Gates.load(out / FILE)


def newest_gates(out: Path) -> Path | None:
    """The gates.json that counts in a folder of results: the page's, in its corrections, or its own if that is newer.

    None if there is neither.
    """
    found = [p for p in (out / FILE, moved_gates(out)) if p.is_file()]
    return max(found, key=lambda p: p.stat().st_mtime_ns, default=None)


def moved_gates(out: Path) -> Path:
    """Where the page writes the cut-offs that were moved on it; the results stay next to those they were made with."""
    return out / FOLDER / FILE


@contextmanager
def moved_meanwhile_last(out: Path) -> Iterator[None]:
    """Write a folder's gates in the block; cut-offs that are moved on its page meanwhile are the newest afterwards."""
    page = moved_gates(out)
    before = page.stat().st_mtime_ns if page.is_file() else None
    yield
    if page.is_file() and page.stat().st_mtime_ns != before:
        page.touch()
        log.warning("%s: a cut-off was moved on the page meanwhile, and is not applied yet: apply again", page)


def makes_gates(options: CellOptions) -> bool:
    """Whether the rules have markers for which neither gates nor thresholds are given."""
    return options.rule_set is not None and not options.gates and bool(_open_markers(options, options.rule_set))


def _open_markers(options: CellOptions, rules: Rules) -> list[str]:
    return [m for m in rules.markers if m not in given_by_marker(options.markers_above, rules)]


def make_gates(out: Path, options: CellOptions, tables: Mapping[str, pd.DataFrame]) -> Gates:
    """Make one gate for each marker of the rules from the cells of all fields, and write them to gates.json."""
    rules = options.rule_set
    assert rules is not None
    gates = gates_of_rules(tables, rules, given=given_by_marker(options.markers_above, rules))
    gates.save(out / FILE)
    n = sum(map(len, tables.values()))
    fields = f"all {len(tables)} fields" if len(tables) > 1 else "one field"
    log.info("one cut-off per marker, from the %d cells of %s: %s", n, fields, out / FILE)
    return gates


def gated_columns(table: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """The columns of a table that gates need."""
    columns = [intensity_column(table, marker) for marker in rules.markers]
    return table[list(dict.fromkeys(c for c in columns if c is not None))]
