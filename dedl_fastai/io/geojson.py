"""Cells as GeoJSON in QuPath's dialect, written a few features at a time."""

import gzip
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import orjson
import pandas as pd

from ..errors import UserError
from .files import written_whole
from .rings import signed_areas

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
    nuclei: Mapping[int, np.ndarray] | None = None,  # label -> outline of the nucleus, if `polygons` are of whole cells
) -> int:
    """Write a FeatureCollection that QuPath opens, one feature per line, and return the number of features.

    A file whose name ends in .gz is compressed; QuPath opens it from version 0.4 on. Features are named by their
    labels. Coordinates are in pixels; (0, 0) is the corner of the upper left pixel, as in QuPath. Measurements have six
    significant digits; NaN and infinite values are left out.
    """
    n = 0
    rest = iter(polygons)
    table = pd.DataFrame() if measurements is None else measurements
    columns = {str(name): column.to_numpy() for name, column in table.items()}
    with written_whole(path) as tmp, _opened(tmp) as f:
        f.write(b'{"type": "FeatureCollection", "features": [')
        while batch := list(islice(rest, _BATCH)):
            measured = _measured([label for label, _ in batch], table.index, columns)
            for (label, _), ring, values in zip(batch, _rings(path, batch, origin), measured, strict=True):
                properties: dict[str, Any] = {"objectType": object_type, "name": str(label)}
                properties |= _classification((classes or {}).get(label), colors or {})
                properties |= {"measurements": values} if values is not None else {}
                geometry = {"type": "Polygon", "coordinates": [ring]}
                feature = {"type": "Feature", "geometry": geometry, "properties": properties}
                if nuclei and label in nuclei:
                    (inner,) = _rings(path, [(label, nuclei[label])], origin)
                    feature["nucleusGeometry"] = {"type": "Polygon", "coordinates": [inner]}
                f.write(b",\n" if n else b"\n")
                f.write(orjson.dumps(feature, option=orjson.OPT_SERIALIZE_NUMPY))
                n += 1
        f.write(b"\n]}\n")
    return n


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file for writing; compressed for .gz, without the time and the name, so that the bytes are the same."""
    with path.open("wb") as raw:
        if path.suffix != ".gz":
            yield raw
            return
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
            yield cast(BinaryIO, packed)


def _rings(path: str | Path, batch: Sequence[tuple[int, np.ndarray]], origin: tuple[float, float]) -> list[np.ndarray]:
    """The outlines as closed counterclockwise rings of (x, y)."""
    outlines = [np.asarray(points, dtype=np.float64) for _, points in batch]
    lengths = np.array([len(points) for points in outlines])
    start = np.concatenate([[0], np.cumsum(lengths)])
    points = np.concatenate(outlines)
    areas = signed_areas(points, start) if lengths.min() > 2 else np.where(lengths > 2, 1.0, 0.0)
    for (label, _), area in zip(batch, areas.tolist(), strict=True):
        if not area or not math.isfinite(area):
            raise UserError(f"{path}: the outline of cell {label} is not a polygon of finite points.")
    is_closed = (points[start[:-1]] == points[start[1:] - 1]).all(axis=1)
    xy = np.round(points[:, ::-1] + origin, 2)
    rings = [xy[a:b] for a, b in pairwise(start.tolist())]
    for i in np.flatnonzero(~is_closed):
        rings[i] = np.concatenate([rings[i], rings[i][:1]])
    return [np.ascontiguousarray(ring[::-1] if area < 0 else ring) for ring, area in zip(rings, areas, strict=True)]


def _measured(labels: list[int], index: pd.Index, columns: dict[str, np.ndarray]) -> Iterator[dict[str, float] | None]:
    """The measurements of each label, None for one that is not in the index."""
    rows = index.get_indexer(pd.Index(labels))
    if not columns or not len(index):
        yield from ({} if row >= 0 else None for row in rows)
        return
    values = _rounded(np.stack([column[rows].astype(np.float64) for column in columns.values()], axis=1))
    is_whole = np.isfinite(values).all(axis=1)
    for row, whole, numbers in zip(rows.tolist(), is_whole.tolist(), values.tolist(), strict=True):
        found = dict(zip(columns, numbers, strict=True))
        if not whole:  # JSON has no NaN
            found = {name: v for name, v in found.items() if math.isfinite(v)}
        yield found if row >= 0 else None  # row -1 is of a label that is not there


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
