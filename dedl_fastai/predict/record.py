"""The record of each finished field, a JSON file in `fields/`: reruns, summary.csv and report.html are based on it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ..cells.phenotyping import field_summary
from ..errors import UserError
from ..io.files import is_temporary, read_json_object, write_json, written_whole
from .kinds import KINDS, Result
from .regions import regions_of

Record = dict[str, Any]
AREA_STEPS = {"um2": 5.0, "px": 20.0}  # width of a bin of the histogram of nuclear areas
_AREA_BINS = 60  # the last one holds all larger areas
_NEEDED = ["field", "image", "cells", "area_mm2", "per_mm2", "uncertainty", "threshold", "phenotypes", "areas"]
_NEEDED += ["phenotyping", "settings", "made"]
_THUMBNAIL = 640  # pixels of the longer edge


def record_file(out: Path, field: str) -> Path:
    """Path of a field's record. It is written last, so that a field with a record is finished."""
    return out / "fields" / f"{field}.json"


def thumbnail_file(out: Path, field: str) -> Path:
    """Path of a field's small overlay."""
    return out / "fields" / f"{field}.jpg"


def read_records(out: Path) -> list[Record]:
    """Read the records of all finished fields, sorted by image."""
    files = [p for p in (out / "fields").glob("*.json") if not is_temporary(p)]
    return in_order(map(read_record, files))


def read_record(path: Path) -> Record:
    """Read the record of a field. Raises `UserError` if the file is none."""
    return read_json_object(path, *_NEEDED)


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return the records sorted by image."""
    return sorted(records, key=lambda r: (r["image"], r["field"]))


def write_record(out: Path, record: Record, result: Result) -> None:
    """Write the thumbnail and the record of a field, after its other files."""
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
    kinds: Collection[str],  # of the files that were made with these settings
) -> Record:
    """Return counts, densities, areas and settings of a field; nothing in it depends on the clock or the machine."""
    found = result.found
    size, cells = found.field.pixel_size_um, found.cells
    height, width = found.labels.shape
    mm2 = height * width * size**2 / 1e6 if size else None
    summary = field_summary(cells, mm2)
    counts = {
        phenotype: {"cells": int(n), "per_mm2": round(float(density), 3) if size else None}
        for phenotype, n, density in zip(summary["phenotype"], summary["cells"], summary["per_mm2"], strict=True)
    }
    return {
        "field": field,
        "image": str(image),
        **counts.pop("all"),
        "area_mm2": round(mm2, 6) if mm2 else None,
        "uncertainty": round(float(found.field_uncertainty), 6),
        "doubt": round(float((1 - cells["solidity"]).mean()), 6) if len(cells) else 0.0,
        "threshold": round(float(found.threshold), 6),
        "scale": asdict(found.scale),
        "channel": found.field.channel_name(result.channel),
        "phenotypes": counts,
        "phenotyping": cells.attrs.get("how", ""),
        "regions": regions_of(found),
        "areas": _area_counts(cells, "um2" if size else "px"),
        "settings": dict(settings),
        "made": dict(made),
        "kinds": [kind for kind in KINDS if kind in kinds],
    }


def _area_counts(cells: pd.DataFrame, unit: str) -> dict[str, Any]:
    bins = np.minimum(cells[f"area_{unit}"] // AREA_STEPS[unit], _AREA_BINS - 1).astype(int)
    return {"unit": unit, "counts": np.bincount(bins, minlength=_AREA_BINS).tolist()}


def summary_table(records: Sequence[Record], suggested: Sequence[str] = ()) -> pd.DataFrame:
    """One row per field: cells, area, density and uncertainty, then the cells and density of each phenotype.

    With suggested fields, `look_at` has their rank, from 1 on.
    """
    plain = ("field", "image", "cells", "area_mm2", "per_mm2", "uncertainty", "threshold")
    rows = []
    for record in records:
        row = {name: record[name] for name in plain}
        row["scale"] = record.get("scale", {}).get("factor", 1.0)  # earlier versions knew no scale
        for name, values in record["phenotypes"].items():
            row |= {f"{column} {name}": value for column, value in values.items()}
        rows.append(row)
    table = pd.DataFrame(rows, columns=None if rows else [*plain, "scale"])
    if suggested:
        table["look_at"] = [suggested.index(f) + 1 if f in suggested else None for f in table["field"]]
    counts = [c for c in map(str, table.columns) if c.startswith("cells ") or c == "look_at"]
    return table.astype(dict.fromkeys(counts, "Int64"))  # integers, although a field without rules has no counts


def check_settings(record: Record, image: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    """Raise a `UserError` if existing files are of another image, or were made with other options and would be kept."""
    if record["image"] != str(image):
        raise UserError(
            f"{image}: the folder already holds results of {record['image']} as the field {record['field']!r}: "
            f"choose another `out`."
        )
    for name in [] if overwrite else settings.keys() & record["settings"].keys():
        if record["settings"][name] != settings[name]:
            raise UserError(
                f"{image}: the existing results were made with {name} = {record['settings'][name]!r}, not "
                f"{settings[name]!r}: choose another `out`, or replace them with `overwrite`."
            )
