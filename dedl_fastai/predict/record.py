"""The record of each finished field, in `fields/` of the results: what a rerun, summary.csv and report.html go by."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ..cells.phenotyping import field_summary
from ..errors import UserError
from ..io.files import read_json, write_json, written_whole
from .kinds import KINDS, Result

Record = dict[str, Any]
AREA_STEPS = {"um2": 5.0, "px": 20.0}  # width of a bin of the histogram of nuclear areas
_AREA_BINS = 60  # the last one holds all that is larger
_THUMBNAIL = 640  # pixels of the longer edge


def record_file(out: Path, field: str) -> Path:
    """Where the record of a field lie; written last, so that a field with record is finished."""
    return out / "fields" / f"{field}.json"


def thumbnail_file(out: Path, field: str) -> Path:
    """Where the small overlay of a field lies."""
    return out / "fields" / f"{field}.jpg"


def read_records(out: Path) -> list[Record]:
    """The record of every finished field, sorted by image."""
    return in_order(read_json(p) for p in (out / "fields").glob("*.json"))


def in_order(record: Iterable[Record]) -> list[Record]:
    """Sorted by image."""
    return sorted(record, key=lambda f: (f["image"], f["field"]))


def write_record(out: Path, record: Record, result: Result) -> None:
    """Write thumbnail and record of a field whose files are written."""
    picture = result.overlay.copy()
    picture.thumbnail((_THUMBNAIL, 4 * _THUMBNAIL), Image.Resampling.LANCZOS)
    with written_whole(thumbnail_file(out, record["field"])) as tmp:
        picture.save(tmp, format="JPEG", quality=85)
    write_json(record_file(out, record["field"]), record)


def field_record(
    field: str,
    image: Path,
    result: Result,
    settings: Mapping[str, Any],
    made: Mapping[str, Any],
    kinds: Collection[str],  # the files that are of these settings
) -> Record:
    """Counts, densities, areas and how they came about: nothing that depends on the clock or the machine."""
    found = result.found
    size, cells = found.field.pixel_size_um, found.cells
    height, width = found.labels.shape
    mm2 = height * width * size**2 / 1e6 if size else None
    lines = {
        r.phenotype: {"cells": int(r.cells), "per_mm2": round(float(r.per_mm2), 3) if size else None}
        for r in field_summary(cells, mm2).itertuples()
    }
    return {
        "field": field,
        "image": str(image),
        **lines.pop("all"),
        "area_mm2": round(mm2, 6) if mm2 else None,
        "uncertainty": round(float(found.field_uncertainty), 6),
        "threshold": round(float(found.threshold), 6),
        "phenotypes": lines,
        "phenotyping": cells.attrs.get("how", ""),
        "areas": _area_counts(cells, "um2" if size else "px"),
        "settings": dict(settings),
        "made": dict(made),
        "kinds": [kind for kind in KINDS if kind in kinds],
    }


def _area_counts(cells: pd.DataFrame, unit: str) -> dict[str, Any]:
    bins = np.minimum(cells[f"area_{unit}"] // AREA_STEPS[unit], _AREA_BINS - 1).astype(int)
    return {"unit": unit, "counts": np.bincount(bins, minlength=_AREA_BINS).tolist()}


def summary_table(record: Sequence[Record]) -> pd.DataFrame:
    """A row a field: cells, area and density, uncertainty; then cells and density of each phenotype."""
    plain = ("field", "image", "cells", "area_mm2", "per_mm2", "uncertainty", "threshold")
    rows = []
    for one in record:
        row = {name: one[name] for name in plain}
        for name, values in one["phenotypes"].items():
            row |= {f"{column} {name}": value for column, value in values.items()}
        rows.append(row)
    table = pd.DataFrame(rows, columns=None if rows else list(plain))
    counts = [c for c in table if c.startswith("cells ")]
    return table.astype(dict.fromkeys(counts, "Int64"))  # a field without rules has none: still whole numbers


def check_settings(record: Record, image: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    """`UserError` where a field's files are of another image, or of other options and are to be kept."""
    if record["image"] != str(image):
        raise UserError(
            f"{image}: the folder holds results of {record['image']} for the field {record['field']!r}: "
            f"choose another `out`."
        )
    for name in [] if overwrite else settings.keys() & record["settings"].keys():
        if record["settings"][name] != settings[name]:
            raise UserError(
                f"{image}: the results there are of {name} {record['settings'][name]!r}, not {settings[name]!r}: "
                f"choose another `out`, or write them again with `overwrite`."
            )
