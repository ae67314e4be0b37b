"""OME-Zarr folders (0.4 and 0.5) and plain zarr arrays as fields: the full-resolution level, read by region."""

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .field import Field

_UM_PER = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
_MARKS = (".zgroup", ".zarray", "zarr.json")  # one of them lies in every zarr folder


class ZarrField(Field):
    """A zarr array of axes (y, x) or (c, y, x); other axes have length 1."""

    def __init__(self, *args, array: Any, axes: list[str], **kwargs):
        super().__init__(*args, **kwargs)
        self.array, self.axes = array, axes

    @classmethod
    def open(cls, path: Path) -> "ZarrField":
        """Read the metadata; no pixel is decoded. `UserError` for what is no image of one plane a channel."""
        import zarr

        try:
            node = zarr.open(str(path), mode="r")
            attributes = dict(node.attrs)
            if isinstance(node, zarr.Array):
                return _described(cls, path, node, _plain_axes(path, node.ndim), {}, {})
            known = attributes.get("ome", attributes)
            image = known["multiscales"][0]
            level = image["datasets"][0]
            axes = [a["name"].lower() for a in image["axes"]]
            return _described(cls, path, node[level["path"]], axes, _scale(image, level), known.get("omero", {}))
        except (LookupError, TypeError, ValueError, OSError) as e:
            raise UserError(f"{path} is no OME-Zarr image ({type(e).__name__}: {e}): convert it again.") from e

    def _read(self, index: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        place = {"y": slice(y0, y1), "x": slice(x0, x1), "c": index}
        try:
            return np.asarray(self.array[tuple(place.get(axis, 0) for axis in self.axes)])
        except (ValueError, RuntimeError, OSError) as e:
            raise UserError(f"{self.path} is damaged: a chunk does not decode ({e}). Copy it again.") from e


def is_zarr(path: Path) -> bool:
    """True for a folder that holds a zarr array or group."""
    return path.is_dir() and any((path / mark).is_file() for mark in _MARKS)


def _described(cls: type[ZarrField], path: Path, array: Any, axes: list[str], scale: dict, omero: dict) -> ZarrField:
    size = dict(zip(axes, array.shape, strict=True))
    for axis, n in size.items():
        if axis not in "cyx" and n > 1:
            raise UserError(f"{path} has {n} of axis {axis!r}; a field is one plane a channel. Save one of them.")
    if not {"y", "x"} <= set(axes) or axes[-2:] != ["y", "x"]:
        raise UserError(f"{path} has axes {axes}: the last two have to be y and x.")
    if array.dtype.kind not in "buif" or 0 in array.shape:
        raise UserError(f"{path} holds {array.dtype} pixels of shape {array.shape}: that is no image.")
    channels = [f"channel_{i}" for i in range(size.get("c", 1))] if size.get("c", 1) > 1 else ["grey"]
    given = omero.get("channels") or []
    labels = [str(c.get("label") or "") for c in given]
    if len(labels) == len(channels) and all(labels) and len({n.lower() for n in labels}) == len(labels):
        channels = labels
    colors = [_color(c.get("color")) for c in given] if len(given) == len(channels) else None
    return cls(
        path=path,
        format="ome-zarr" if scale or omero else "zarr",
        channels=channels,
        shape=(size["y"], size["x"]),
        pixel_size_um=scale.get("x"),
        colors=colors,
        array=array,
        axes=axes,
    )


def _plain_axes(path: Path, ndim: int) -> list[str]:
    if ndim not in (2, 3):
        raise UserError(f"{path} is a zarr array of {ndim} axes: (y, x) or (channel, y, x) is needed.")
    return ["c", "y", "x"][-ndim:]


def _scale(image: dict, level: dict) -> dict[str, float]:
    """um a pixel of each axis that has a unit of length."""
    factors = np.ones(len(image["axes"]))
    for holder in (image, level):
        for transform in holder.get("coordinateTransformations", []):
            if transform.get("type") == "scale":
                factors = factors * np.asarray(transform["scale"], float)
    units = {a["name"].lower(): _UM_PER.get(a.get("unit", "")) for a in image["axes"]}
    return {axis: float(f) * units[axis] for axis, f in zip(units, factors, strict=True) if units[axis]}


def _color(text: Any) -> tuple[int, int, int] | None:
    try:
        r, g, b = bytes.fromhex(str(text)[:6])
    except ValueError:
        return None
    return r, g, b
