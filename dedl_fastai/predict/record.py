"""The facts of each finished field, in `fields/` of the results: what a rerun, summary.csv and report.html go by."""

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

Facts = dict[str, Any]
AREA_STEPS = {"um2": 5.0, "px": 20.0}  # width of a bin of the histogram of nuclear areas
_AREA_BINS = 60  # the last one holds all that is larger
_THUMBNAIL = 640  # pixels of the longer edge


def facts_file(out: Path, field: str) -> Path:
    """Where the facts of a field lie; written last, so that a field with facts is finished."""
    return out / "fields" / f"{field}.json"


def thumbnail_file(out: Path, field: str) -> Path:
    """Where the small overlay of a field lies."""
    return out / "fields" / f"{field}.jpg"


def all_facts(out: Path) -> list[Facts]:
    """The facts of every finished field, sorted by image."""
    return in_order(read_json(p) for p in (out / "fields").glob("*.json"))


def in_order(facts: Iterable[Facts]) -> list[Facts]:
    """Sorted by image."""
    return sorted(facts, key=lambda f: (f["image"], f["field"]))


def write_facts(out: Path, facts: Facts, result: Result) -> None:
    """Write thumbnail and facts of a field whose files are written."""
    picture = result.overlay.copy()
    picture.thumbnail((_THUMBNAIL, 4 * _THUMBNAIL), Image.Resampling.LANCZOS)
    with written_whole(thumbnail_file(out, facts["field"])) as tmp:
        picture.save(tmp, format="JPEG", quality=85)
    write_json(facts_file(out, facts["field"]), facts)


def facts_of(
    field: str,
    image: Path,
    result: Result,
    settings: Mapping[str, Any],
    made: Mapping[str, Any],
    kinds: Collection[str],  # the files that are of these settings
) -> Facts:
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


def summary_table(facts: Sequence[Facts]) -> pd.DataFrame:
    """A row a field: cells, area and density, uncertainty; then cells and density of each phenotype."""
    plain = ("field", "image", "cells", "area_mm2", "per_mm2", "uncertainty", "threshold")
    rows = []
    for one in facts:
        row = {name: one[name] for name in plain}
        for name, values in one["phenotypes"].items():
            row |= {f"{column} {name}": value for column, value in values.items()}
        rows.append(row)
    table = pd.DataFrame(rows, columns=None if rows else list(plain))
    counts = [c for c in table if c.startswith("cells ")]
    return table.astype(dict.fromkeys(counts, "Int64"))  # a field without rules has none: still whole numbers


def check_settings(facts: Facts, image: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    """`UserError` where a field's files are of another image, or of other options and are to be kept."""
    if facts["image"] != str(image):
        raise UserError(
            f"{image}: the results of the field {facts['field']!r} are those of {facts['image']}: choose another --out."
        )
    for name in [] if overwrite else settings.keys() & facts["settings"].keys():
        if facts["settings"][name] != settings[name]:
            raise UserError(
                f"{image}: the results there are of {name} {facts['settings'][name]!r}, not {settings[name]!r}: "
                f"choose another --out, or write them again with --overwrite."
            )
