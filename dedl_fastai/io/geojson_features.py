"""Features of a GeoJSON file of any size, read one by one; plain, or compressed as .gz or .zip."""

import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from ..errors import UserError
from .files import existing_file

_CHUNK = 1 << 20  # characters that are read at a time
_FEATURES = re.compile(r'"features"\s*:\s*\[')
_GEOMETRIES = ("Polygon", "MultiPolygon", "GeometryCollection")

Feature = dict[str, Any]


def read_features(path: str | Path) -> Iterator[Feature]:
    """Yield the features of a FeatureCollection, of a list of features, or a single one; a geometry becomes a feature.

    About one feature is in memory at a time. Raises `UserError` for a file that is damaged, cut short or no GeoJSON.
    """
    path = existing_file(path)
    try:
        with _opened(path) as f:
            for value in _objects(f):
                yield _feature(path, value)
    except (ValueError, RecursionError) as e:  # of JSON, and of text that is not UTF-8
        raise UserError(f"{path} is damaged, cut short or not GeoJSON ({e}): export it again.") from e
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as e:
        raise UserError(f"{path} cannot be decompressed ({e}): export it again.") from e


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as f:
            yield f
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.lower().endswith((".json", ".geojson"))]
            if len(names) != 1:
                raise UserError(f"{path} holds {len(names)} GeoJSON files instead of one: extract one of them.")
            with archive.open(names[0]) as raw:
                yield io.TextIOWrapper(raw, encoding="utf-8")
    else:
        with path.open(encoding="utf-8") as f:
            yield f


def _objects(f: TextIO) -> Iterator[Any]:
    """Yield the values of the top-level list, or of the list "features" of the top-level object, or that object."""
    text = f.read(_CHUNK).lstrip("\ufeff \t\r\n")
    listed = _FEATURES.search(text) if text.startswith("{") else None
    if text.startswith("[") or listed:
        yield from _values(f, text[listed.end() if listed else 1 :])
    else:
        yield json.loads(text + f.read())


def _values(f: TextIO, text: str) -> Iterator[Any]:
    """Yield the values of a list, from the text behind its bracket on."""
    decode, size, at = json.JSONDecoder().raw_decode, _CHUNK, 0
    while True:
        at = _next(text, at)
        if text[at : at + 1] == "]":
            return
        try:
            value, at = decode(text, at)
        except ValueError:
            more = f.read(size)  # the value may be cut off at the end of what is read
            if not more:
                raise
            text, at, size = text[at:] + more, 0, 2 * size
            continue
        size = _CHUNK
        yield value


def _next(text: str, at: int) -> int:
    while text[at : at + 1] in (",", " ", "\n", "\r", "\t") and at < len(text):
        at += 1
    return at


def _feature(path: Path, value: Any) -> Feature:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "Feature":
        return value
    if kind in _GEOMETRIES:
        return {"type": "Feature", "geometry": value, "properties": {}}
    raise UserError(f"{path} holds {kind or type(value).__name__!r} where a GeoJSON feature is expected.")
