"""Cells as GeoJSON in QuPath's dialect, written one feature at a time."""

import gzip
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from ..errors import UserError
from .files import written_whole
from .outlines import signed_area


def write_geojson(
    path: str | Path,
    polygons: Iterable[tuple[int, np.ndarray]],  # (label, outline) as from `cell_polygons`, consumed one by one
    classes: Mapping[int, str] | None = None,  # label -> class; None, NaN and "" mean no class
    measurements: Mapping[int, Mapping[str, float]] | None = None,  # label -> {name: value}, looked up one by one
    colors: Mapping[str, tuple[int, int, int]] | None = None,  # class -> (r, g, b)
    origin: tuple[float, float] = (0.0, 0.0),  # (x, y) in pixels of the slide, added to every point
    object_type: Literal["detection", "cell", "annotation"] = "detection",
    nuclei: Mapping[int, np.ndarray] | None = None,  # label -> outline of the nucleus, if `polygons` are of whole cells
) -> int:
    """Write a FeatureCollection that QuPath opens, one feature per line, and return the number of features.

    A file whose name ends in .gz is compressed; QuPath opens it from version 0.4 on. Features are named by their
    labels. Coordinates are in pixels; (0, 0) is the corner of the upper left pixel, as in QuPath. Measurements have six
    significant digits; NaN and infinite values are left out.
    """
    n = 0
    with written_whole(path) as tmp, _opened(tmp) as f:
        f.write('{"type": "FeatureCollection", "features": [')
        for label, points in polygons:
            properties = _properties(
                label,
                classes=classes or {},
                measurements=measurements or {},
                colors=colors or {},
                object_type=object_type,
            )
            geometry = {"type": "Polygon", "coordinates": [_ring(path, label, points, origin)]}
            feature = {"type": "Feature", "geometry": geometry, "properties": properties}
            if nuclei and label in nuclei:
                inner = [_ring(path, label, nuclei[label], origin)]
                feature["nucleusGeometry"] = {"type": "Polygon", "coordinates": inner}
            f.write(",\n" if n else "\n")
            f.write(json.dumps(feature, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
            n += 1
        f.write("\n]}\n")
    return n


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A text file for writing; compressed for .gz, without the time and the name, so that the bytes are the same."""
    if path.suffix != ".gz":
        with path.open("w", encoding="utf-8", newline="\n") as f:
            yield f
        return
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as f,
    ):
        yield f


def _ring(path: str | Path, label: int, points: np.ndarray, origin: tuple[float, float]) -> list[list[float]]:
    """The outline as a closed counterclockwise ring of (x, y)."""
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
    properties: dict[str, Any] = {"objectType": object_type, "name": str(label)}
    name = classes.get(label)
    if isinstance(name, str) and name:  # a column of a table has NaN for a missing class
        properties["classification"] = _classification(name, colors)
    if label in measurements:
        values = {k: float(f"{v:.6g}") for k, v in measurements[label].items()}
        properties["measurements"] = {k: v for k, v in values.items() if math.isfinite(v)}  # JSON has no NaN
    return properties


def _classification(name: str, colors: Mapping[str, tuple[int, int, int]]) -> dict[str, Any]:
    if name not in colors:
        return {"name": name}
    r, g, b = (int(v) for v in colors[name])
    packed = (255 << 24 | r << 16 | g << 8 | b) - (1 << 32)  # a signed 32-bit integer, as QuPath before 0.4 reads it
    return {"name": name, "color": [r, g, b], "colorRGB": packed}
