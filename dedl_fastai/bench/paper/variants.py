"""`with_variants`: a table with further columns for other forms of APP, that of the text and that of the code."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ...errors import UserError
from .tables import PaperCell, PaperRow, PaperTable

# The tables' own form keeps APP's gradient at a tenth of the main gradient (`app_weight` auto).
VARIANTS: dict[str, dict[str, Any]] = {
    "summed": {"app_weight": "summed"},  # the text: a mean squared error next to a summed main loss
    "released": {"app_released": True},  # the code: cross-entropy over all class maps and rows
}


def with_variants(table: PaperTable, names: Sequence[str]) -> PaperTable:
    """Return the table with a column per variant of APP right of each column with APP; unchanged without names.

    The published value stands beside each form, since it is not known which of them it is of. Raises `UserError` for
    an unknown variant, and for a table whose columns have no APP or whose rows are variants already.
    """
    wanted = [n.strip().lower() for n in names if n.strip()]
    if not wanted:
        return table
    if unknown := [n for n in wanted if n not in VARIANTS]:
        raise UserError(f"variant={unknown[0]!r} is unknown; it may be {', '.join(VARIANTS)}.")
    if table.row_options:
        raise UserError(f"the rows of {table.name} are variants of APP already: choose them with `rows`.")
    rows = tuple(PaperRow(r.key, r.label, tuple(_expanded(r.cells, wanted))) for r in table.rows)
    columns = tuple(dict.fromkeys(c.column for r in rows for c in r.cells))
    if len(columns) == len(table.columns):
        raise UserError(f"no column of {table.name} has APP: leave `variant` out.")
    return replace(table, rows=rows, columns=columns)


def variants_of(columns: Iterable[str]) -> list[str]:
    """Return the variants that these columns, of a table with variants, are of."""
    ends = {column.rpartition(", ")[2] for column in columns}
    return [name for name in VARIANTS if name in ends]


def _expanded(cells: Sequence[PaperCell], names: Sequence[str]) -> Iterable[PaperCell]:
    for cell in cells:
        yield cell
        if cell.options.get("app", "none") != "none":
            for name in dict.fromkeys(names):
                options = {**cell.options, **VARIANTS[name]}
                yield replace(cell, column=f"{cell.column}, {name}", options=options)
