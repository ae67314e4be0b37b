"""Cell tables: inForm's `cell_seg_data.txt` in any locale, Van Buren's label and phenotype tables, Parquet."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..extras import optional
from .files import written_whole
from .text_tables import read_text_table

PARQUET = ("pyarrow", "tables", "Parquet tables")  # the arguments of `optional`
_DECIMAL_COMMA = re.compile(r"^-?\d+,\d+(e[-+]?\d+)?$", re.IGNORECASE)
_PERCENT = re.compile(r"^-?\d+([.,]\d+)?\s?%$")
_INFORM_VERSION = re.compile(r"^inForm [\d.]+$")
# Columns that stay text, so that "0929309" keeps its zero
_TEXT = ("Path", "Sample Name", "Tissue Category", "Slide ID", "Lab ID", "Annotation ID")
_MISSING = ["#N/A", "NA", "N/A", "NaN", "nan", ""]


def read_cell_table(path: str | Path) -> pd.DataFrame:
    """Return a table with one row per cell and the column names of the file.

    Reads inForm's per-field, merged and consolidated tables (separated by tabs, commas or semicolons; decimal point or
    comma; UTF-8, UTF-16 or Latin-1), and Van Buren's `_datalabels` (Label, X, Y: 32 outline points per cell) and
    `_dataMeasured` (listname and one 0/1 column per marker). `#N/A` becomes NaN and "97.57 %" becomes 0.9757; names,
    slide ids and phenotypes stay text; a missing phenotype is "". The inForm version is in `.attrs["inform_version"]`.
    Raises `UserError` for other files and for tables that are cut short.
    """
    table = read_text_table(path)
    version = [c for c in table.columns if _INFORM_VERSION.match(c)]
    table = table.drop(columns=version)
    if str(table.columns[0]).strip() in ("", "Unnamed: 0"):  # ImageJ's row number
        table = table.drop(columns=table.columns[0])
    table = pd.DataFrame({c.strip(): _column(c.strip(), table[c]) for c in table.columns})
    table.attrs["inform_version"] = version[0].removeprefix("inForm ") if version else ""
    return table


def _column(name: str, column: pd.Series) -> pd.Series:
    """Numbers if every present value is a number; names, ids and phenotypes stay text, with "" for missing values."""
    values = column.str.strip()
    if name.startswith("Phenotype") or name in _TEXT:
        return values.where(~values.isin(["#N/A"]), "")
    try:
        return pd.to_numeric(values)  # nearly all columns, several times as quickly as what follows
    except ValueError:
        pass
    present = values[~values.isin(_MISSING)]
    if present.str.match(_PERCENT).all() and not present.empty:
        return _numbers(values.str.rstrip("%").str.strip()) / 100
    is_numeric = pd.to_numeric(_point(present), errors="coerce").notna().all()
    return _numbers(values) if is_numeric else values


def _point(values: pd.Series) -> pd.Series:
    return values.str.replace(",", ".") if values.str.match(_DECIMAL_COMMA).any() else values


def _numbers(values: pd.Series) -> pd.Series:
    return pd.to_numeric(_point(values.where(~values.isin(_MISSING))))


def read_outlines(path: str | Path) -> dict[str, np.ndarray]:
    """Read Van Buren's `_datalabels` as {cell label: (n, 2) outline points (y, x) in pixels}, in the file's order."""
    table = read_cell_table(path)
    missing = {"Label", "X", "Y"} - set(table.columns)
    if missing:
        raise UserError(f"{path} has no column {', '.join(sorted(missing))}: it is not a label table.")
    return {str(k): g[["Y", "X"]].to_numpy(float, copy=True) for k, g in table.groupby("Label", sort=False)}


def write_parquet(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, with the columns and values of the CSV and their types. Needs the extra "tables"."""
    optional(*PARQUET)
    with written_whole(path) as tmp:
        table.to_parquet(tmp, engine="pyarrow", index=False)
