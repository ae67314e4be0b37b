"""Objects of QuPath with an area (annotations, detections, cells), read from its GeoJSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .geojson_features import Feature, read_features

_DETECTIONS = ("detection", "cell", "PathDetectionObject", "PathCellObject")
_NO_OUTLINES = ("tile", "tmaCore", "tma_core", "root", "PathTileObject", "TMACoreObject", "PathRootObject")


@dataclass(frozen=True)
class QuPathObject:
    """An object that covers an area: for a cell with a nucleus, that of the nucleus."""

    is_annotation: bool
    name: str  # of its class, "" without one
    rings: list[np.ndarray]  # outlines and holes, (n, 2) of (y, x) in pixels from the corner of the upper left pixel

    @property
    def box(self) -> np.ndarray:
        """Return y0, x0, y1, x1."""
        points = np.concatenate(self.rings)
        return np.concatenate([points.min(axis=0), points.max(axis=0)])


def read_qupath(path: str | Path) -> tuple[list[QuPathObject], int]:
    """Return the objects of a GeoJSON file that cover an area, and the number of others.

    Tiles, TMA cores, points and lines are others. Objects without a type are annotations, as in QuPath. Raises
    `UserError` for files that are damaged or not GeoJSON.
    """
    try:
        found = [_object(feature) for feature in read_features(path)]
    except (ValueError, TypeError, AttributeError, LookupError) as e:  # whatever a feature has in the wrong place
        raise UserError(f"{path} has a feature that cannot be read ({e}): export it again.") from e
    objects = [o for o in found if o is not None]
    return objects, len(found) - len(objects)


def _object(feature: Feature) -> QuPathObject | None:
    properties = feature.get("properties") or {}
    names = ("objectType", "object_type", "type")  # now and formerly; QuPath 0.2 wrote it as the id
    kind = next((properties[name] for name in names if name in properties), feature.get("id"))
    if kind in _NO_OUTLINES:
        return None
    rings = list(_rings(feature.get("nucleusGeometry") or feature.get("geometry")))
    is_annotation = kind not in _DETECTIONS
    return QuPathObject(is_annotation, _class_name(properties.get("classification")), rings) if rings else None


def _class_name(value: Any) -> str:
    """The name of a class; one of several parts has a list of names."""
    if isinstance(value, dict):
        names = value.get("names")
        value = ": ".join(map(str, names)) if isinstance(names, list) else value.get("name")
    return str(value) if value else ""


def _rings(geometry: Any) -> Iterator[np.ndarray]:
    if not isinstance(geometry, dict):
        return
    for part in geometry.get("geometries", []):
        yield from _rings(part)
    coordinates = geometry.get("coordinates", [])
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(geometry.get("type", ""), [])
    for ring in (ring for polygon in polygons for ring in polygon):
        points = np.asarray(ring, float)
        if points.ndim != 2 or points.shape[1] < 2 or not np.isfinite(points).all():
            raise ValueError("a polygon has points that are not pairs of finite numbers")
        if len(points) > 2:
            yield points[:, 1::-1]
