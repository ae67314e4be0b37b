"""Cells as GeoJSON in QuPath's dress, one feature at a time."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import UserError
from .files import written_whole
from .outlines import signed_area


def write_geojson(
    path: str | Path,
    polygons: Iterable[tuple[int, np.ndarray]],  # (label, outline) as of `cell_polygons`, taken one by one
    classes: Mapping[int, str] | None = None,  # label -> class; None, NaN and "" are none
    measurements: Mapping[int, Mapping[str, float]] | None = None,  # label -> {name: value}, looked up one by one
    colors: Mapping[str, tuple[int, int, int]] | None = None,  # class -> (r, g, b)
    origin: tuple[float, float] = (0.0, 0.0),  # (x, y) in pixels of the slide, added to every point
    object_type: Literal["detection", "cell", "annotation"] = "detection",
) -> int:
    """Write a FeatureCollection that QuPath opens, a feature a line; returns how many. The label is the name.

    Coordinates are pixels, (0, 0) the corner of the upper left one, as QuPath counts them; measurements have six
    digits, and those that are NaN are left out.
    """
    n = 0
    with written_whole(path) as tmp, tmp.open("w", encoding="utf-8", newline="\n") as f:
        f.write('{"type": "FeatureCollection", "features": [')
        for label, points in polygons:
            properties = _properties(label, classes or {}, measurements or {}, colors or {}, object_type)
            geometry = {"type": "Polygon", "coordinates": [_ring(path, label, points, origin)]}
            feature = {"type": "Feature", "geometry": geometry, "properties": properties}
            f.write(",\n" if n else "\n")
            f.write(json.dumps(feature, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
            n += 1
        f.write("\n]}\n")
    return n


def _ring(path: str | Path, label: int, points: np.ndarray, origin: tuple[float, float]) -> list[list[float]]:
    points = np.asarray(points, dtype=np.float64)
    if len(points) < 3 or not np.isfinite(points).all() or not signed_area(points):
        raise UserError(f"{path}: the outline of cell {label} is not a polygon of finite points.")
    if signed_area(points) < 0:
        points = points[::-1]
    if (points[0] != points[-1]).any():
        points = np.concatenate([points, points[:1]])
    return np.round(points[:, ::-1] + np.asarray(origin), 2).tolist()


def _properties(
    label: int,
    classes: Mapping[int, str],
    measurements: Mapping[int, Mapping[str, float]],
    colors: Mapping[str, tuple[int, int, int]],
    object_type: str,
) -> dict[str, Any]:
    found: dict[str, Any] = {"objectType": object_type, "name": str(label)}
    name = classes.get(label)
    if isinstance(name, str) and name:  # a table has NaN for none
        found["classification"] = _classification(name, colors)
    if label in measurements:
        values = {k: float(f"{v:.6g}") for k, v in measurements[label].items()}
        found["measurements"] = {k: v for k, v in values.items() if math.isfinite(v)}  # JSON has no NaN
    return found


def _classification(name: str, colors: Mapping[str, tuple[int, int, int]]) -> dict[str, Any]:
    if name not in colors:
        return {"name": name}
    r, g, b = (int(v) for v in colors[name])
    packed = (255 << 24 | r << 16 | g << 8 | b) - (1 << 32)  # Java's signed int, which QuPath before 0.4 reads
    return {"name": name, "color": [r, g, b], "colorRGB": packed}
