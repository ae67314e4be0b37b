"""Tables of text separated by tabs, semicolons or commas, with checks that none of their values is lost."""

import csv
import io
import logging
from pathlib import Path

import pandas as pd

from ..errors import UserError
from .texts import read_text

log = logging.getLogger(__name__)


def read_text_table(path: str | Path, separators: str = "\t;,") -> pd.DataFrame:
    """Return the values of a table as text, with the column names of its first line.

    The first of `separators` that is in the first line separates values. Raises `UserError` if the file is not a table,
    if two columns share a name, or if the last line has fewer values than columns, as in a file that is cut short.
    """
    text = read_text(path)
    header = text.split("\n", 1)[0]
    separator = next((s for s in separators if s in header), separators)
    if len(separator) > 1:
        raise UserError(f"{path} is not a table: its first line contains no tab, comma or semicolon.")
    try:
        table = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False)
        first, second, last = (_values(line, separator) for line in _three_lines(text))
    except (pd.errors.ParserError, ValueError, csv.Error) as e:
        raise UserError(f"{path} cannot be read as a CSV table ({e}): save or export it again.") from e
    _check_names(path, first)
    if len(last) < (min(len(first), len(second)) if len(table) > 1 else len(first) * len(table)):
        raise UserError(
            f"{path} is cut short: its last line has {len(last)} values, and the table {len(first)} columns. Copy or "
            "export it again."
        )
    if len(table) and not text.endswith("\n"):
        log.warning("%s does not end with a line break: its last value may be cut short", path)
    return table


def _three_lines(text: str) -> tuple[str, str, str]:
    """The header, the first row and the last one, which may be the same line."""
    first, _, rest = text.strip("\n").partition("\n")
    return first, rest.split("\n", 1)[0] or first, rest.rsplit("\n", 1)[-1] or first


def _values(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _check_names(path: str | Path, names: list[str]) -> None:
    """Raise a `UserError` for a name that two columns share; pandas would rename the second one."""
    given = [name.strip() for name in names if name.strip()]
    twice = next((name for i, name in enumerate(given) if name in given[:i]), None)
    if twice is not None:
        raise UserError(f"{path} has two columns {twice!r}: remove or rename one of them.")
