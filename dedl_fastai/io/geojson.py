"""Cells as GeoJSON in QuPath's dialect, written a few features at a time."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pandas as pd

from ..errors import UserError
from .files import written_whole
from .outlines import signed_area

_BATCH = 128  # features that are in memory at a time
_DIGITS = 6  # of a measurement
_POWERS = np.array([float(f"1e{k}") for k in range(301)])  # of ten: `10.0**k` is not the nearest number everywhere


def write_geojson(
    path: str | Path,
    polygons: Iterable[tuple[int, np.ndarray]],  # (label, outline) as from `cell_polygons`, consumed in small batches
    classes: Mapping[int, str] | None = None,  # label -> class; None, NaN and "" mean no class
    measurements: pd.DataFrame | None = None,  # indexed by label, numbers only
    colors: Mapping[str, tuple[int, int, int]] | None = None,  # class -> (r, g, b)
    origin: tuple[float, float] = (0.0, 0.0),  # (x, y) in pixels of the slide, added to every point
    object_type: Literal["detection", "cell", "annotation"] = "detection",
) -> int:
    """Write a FeatureCollection that QuPath opens, one feature per line, and return the number of features.

    Features are named by their labels. Coordinates are in pixels; (0, 0) is the corner of the upper left pixel, as in
    QuPath. Measurements have six significant digits; NaN and infinite values are left out.
    """
    n = 0
    rest = iter(polygons)
    with written_whole(path) as tmp, tmp.open("wb") as f:
        f.write(b'{"type": "FeatureCollection", "features": [')
        while batch := list(islice(rest, _BATCH)):
            measured = _measured([label for label, _ in batch], measurements)
            for (label, points), values in zip(batch, measured, strict=True):
                properties = {"objectType": object_type, "name": str(label)}
                properties |= _classification((classes or {}).get(label), colors or {})
                properties |= {"measurements": values} if values is not None else {}
                geometry = {"type": "Polygon", "coordinates": [_ring(path, label, points, origin)]}
                feature = {"type": "Feature", "geometry": geometry, "properties": properties}
                f.write(b",\n" if n else b"\n")
                f.write(orjson.dumps(feature, option=orjson.OPT_SERIALIZE_NUMPY))
                n += 1
        f.write(b"\n]}\n")
    return n


def _ring(path: str | Path, label: int, points: np.ndarray, origin: tuple[float, float]) -> np.ndarray:
    """The outline as a closed counterclockwise ring of (x, y)."""
    points = np.asarray(points, dtype=np.float64)
    area = signed_area(points) if len(points) > 2 else 0.0
    if not area or not math.isfinite(area):
        raise UserError(f"{path}: the outline of cell {label} is not a polygon of finite points.")
    if area < 0:
        points = points[::-1]
    if (points[0] != points[-1]).any():
        points = np.concatenate([points, points[:1]])
    return np.ascontiguousarray(np.round(points[:, ::-1] + origin, 2))


def _measured(labels: list[int], table: pd.DataFrame | None) -> Iterator[dict[str, float] | None]:
    """The measurements of each label, None for one that is not in the table."""
    if table is None:
        yield from (None for _ in labels)
        return
    rows = table.index.get_indexer(labels)
    names = [str(c) for c in table.columns]
    values = _rounded(table.take(rows).to_numpy(np.float64))  # row -1 is of a label that is not there
    is_whole = np.isfinite(values).all(axis=1)
    for row, whole, numbers in zip(rows.tolist(), is_whole.tolist(), values.tolist(), strict=True):
        found = dict(zip(names, numbers, strict=True))
        if not whole:  # JSON has no NaN
            found = {name: v for name, v in found.items() if math.isfinite(v)}
        yield found if row >= 0 else None


def _rounded(values: np.ndarray) -> np.ndarray:
    """The values with six significant digits: the numbers that are nearest to these decimals."""
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log10(np.abs(values)))
    places = _DIGITS - 1 - np.where(np.isfinite(exponent), exponent, 0).astype(np.int64)
    up, down = (_POWERS[np.clip(p, 0, len(_POWERS) - 1)] for p in (places, -places))  # one of them is 1
    return np.rint(values * up / down) / up * down


def _classification(name: Any, colors: Mapping[str, tuple[int, int, int]]) -> dict[str, Any]:
    if not isinstance(name, str) or not name:  # a column of a table has NaN for a missing class
        return {}
    if name not in colors:
        return {"classification": {"name": name}}
    r, g, b = (int(v) for v in colors[name])
    packed = (255 << 24 | r << 16 | g << 8 | b) - (1 << 32)  # a signed 32-bit integer, as QuPath before 0.4 reads it
    return {"classification": {"name": name, "color": [r, g, b], "colorRGB": packed}}
