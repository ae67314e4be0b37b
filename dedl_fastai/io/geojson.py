"""Cells as polygons: outlines of labels, and GeoJSON in QuPath's dress, one feature at a time."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import ndimage
from skimage.draw import polygon as draw_polygon
from skimage.measure import find_contours

from ..errors import UserError
from .files import written_whole

_SAME_IOU = 0.985  # a simpler outline that covers the cell less well than this is not taken


def cell_polygons(
    labels: np.ndarray,  # (H, W) integers, also a memory map; 0 is background, ids start near 1
    simplify: float = 0.5,  # how far in pixels an outline may leave out corners; 0 keeps them all
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (label, outline) in the order of the labels; an outline is (n, 2) float64 (y, x), closed.

    The upper left pixel covers 0 to 1, as in QuPath and ImageJ: its centre is at 0.5. The centres of exactly the
    cell's pixels lie inside; simplified, at least 98 % of them (IoU). A label in several pieces gives its largest,
    a hole is filled.
    """
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            corner = np.array([box[0].start, box[1].start], dtype=np.float64)
            yield label, _outline(labels[box] == label, simplify) + corner


def _outline(mask: np.ndarray, simplify: float) -> np.ndarray:
    rings = find_contours(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="high")
    ring = rings[0] if len(rings) == 1 else max(rings, key=lambda r: abs(signed_area(r)))
    ring = _simplified(ring - 0.5, 0.0)  # - 1 for the padding, + 0.5 to the pixel's centre
    while simplify > 0.1:
        fewer = _simplified(ring, simplify)
        if len(fewer) > 3 and _iou(mask, fewer) > _SAME_IOU:
            return fewer
        simplify /= 2
    return ring


def _simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """The closed ring without points at most `tolerance` away from the line between their neighbours.

    All points that lie nearer than both neighbours go at once: far faster than Douglas-Peucker for short rings.
    """
    points = ring[:-1]
    while len(points) > 4:
        around = np.concatenate([points[-1:], points, points[:1]])
        chord, ahead = around[2:] - around[:-2], points - around[:-2]
        off = np.abs(chord[:, 0] * ahead[:, 1] - chord[:, 1] * ahead[:, 0])
        off /= np.maximum(np.hypot(chord[:, 0], chord[:, 1]), 1e-9)
        ranked = np.concatenate([off[-1:], off, off[:1]])
        goes = (off <= tolerance) & (off <= ranked[:-2]) & (off < ranked[2:])
        if not goes.any():
            break
        points = points[~goes]
    return np.concatenate([points, points[:1]])


def _iou(mask: np.ndarray, ring: np.ndarray) -> float:
    rows, cols = draw_polygon(ring[:, 0] - 0.5, ring[:, 1] - 0.5, mask.shape)
    both = int(mask[rows, cols].sum())
    return both / (int(mask.sum()) + len(rows) - both)


def signed_area(ring: np.ndarray) -> float:
    """The area of a ring (n, 2) of (y, x); positive where it runs from x to y, as RFC 7946 wants an outer ring."""
    y, x = (ring - ring[0]).T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def write_geojson(
    path: str | Path,
    polygons: Iterable[tuple[int, np.ndarray]],  # (label, outline) as of `cell_polygons`, taken one by one
    classes: Mapping[int, str] | None = None,  # label -> class; None, NaN and "" are none
    measurements: Mapping[int, Mapping[str, float]] | None = None,  # label -> {name: value}; NaN is left out
    colors: Mapping[str, tuple[int, int, int]] | None = None,  # class -> (r, g, b)
    origin: tuple[float, float] = (0.0, 0.0),  # (x, y) in pixels of the slide, added to every point
    object_type: Literal["detection", "cell", "annotation"] = "detection",
) -> int:
    """Write a FeatureCollection that QuPath opens, a feature a line; returns how many. The label is the name.

    Coordinates are pixels, (0, 0) the corner of the upper left one, as QuPath counts them.
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
        values = {k: float(v) for k, v in measurements[label].items()}
        found["measurements"] = {k: v for k, v in values.items() if math.isfinite(v)}  # JSON has no NaN
    return found


def _classification(name: str, colors: Mapping[str, tuple[int, int, int]]) -> dict[str, Any]:
    if name not in colors:
        return {"name": name}
    r, g, b = (int(v) for v in colors[name])
    packed = (255 << 24 | r << 16 | g << 8 | b) - (1 << 32)  # Java's signed int, which QuPath before 0.4 reads
    return {"name": name, "color": [r, g, b], "colorRGB": packed}
