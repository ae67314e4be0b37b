"""OME-Zarr folders (0.4 and 0.5) and plain zarr arrays as fields: the full-resolution level, read by region."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .field import Field

log = logging.getLogger(__name__)

_UM_PER = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
_MARKS = (".zgroup", ".zarray", "zarr.json")  # every zarr folder contains one of these files
METADATA = (*_MARKS, ".zattrs")


class ZarrField(Field):
    """A zarr array with the axes (y, x) or (c, y, x); other axes have length 1."""

    def __init__(
        self,
        path: Path,
        format: str,
        channels: Sequence[str],
        shape: tuple[int, int],
        pixel_size_um: float | None = None,
        origin_um: tuple[float, float] | None = None,
        colors: Sequence[tuple[int, int, int] | None] | None = None,
        slide_id: str = "",
        *,
        array: Any,  # zarr.Array
        axes: list[str],  # names of all axes of the array
    ):
        super().__init__(
            path,
            format=format,
            channels=channels,
            shape=shape,
            pixel_size_um=pixel_size_um,
            origin_um=origin_um,
            colors=colors,
            slide_id=slide_id,
        )
        self.array, self.axes = array, axes

    @classmethod
    def open(cls, path: str | Path) -> "ZarrField":
        """Read the metadata of a folder or a URL, which fsspec opens; no pixel is decoded.

        Raises `UserError` if it is not an image of one plane per channel, or if the URL cannot be read.
        """
        import zarr

        try:
            node = zarr.open(str(path), mode="r")
            attributes: dict[str, Any] = dict(node.attrs)
            if isinstance(node, zarr.Array):
                return _described(cls, path, array=node, axes=_plain_axes(path, node.ndim), scale={}, omero={})
            ome = attributes.get("ome", attributes)
            image = ome["multiscales"][0]
            level = image["datasets"][0]
            return _described(
                cls,
                path,
                axes=[a["name"].lower() for a in image["axes"]],
                array=node[level["path"]],
                scale=_scale(image, level),
                omero=ome.get("omero", {}),
            )
        except UserError:
            raise
        except ImportError as e:  # fsspec names the package for this kind of URL
            raise UserError(f"{path} cannot be opened: {e}.") from e
        except (LookupError, TypeError, ValueError, OSError) as e:
            raise UserError(f"{path} is not an OME-Zarr image ({type(e).__name__}: {e}): convert it again.") from e

    def _read(self, index: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        position = {"y": slice(y0, y1), "x": slice(x0, x1), "c": index}
        try:
            return np.asarray(self.array[tuple(position.get(axis, 0) for axis in self.axes)])
        except (ValueError, RuntimeError, OSError) as e:
            raise UserError(f"{self.path} is damaged: a chunk cannot be decoded ({e}). Copy it again.") from e


def is_url(path: str | Path) -> bool:
    """True for a text such as s3://bucket/slide.zarr."""
    return isinstance(path, str) and "://" in path


def is_zarr(path: Path) -> bool:
    """True for a folder that holds a zarr array or group."""
    return path.is_dir() and any((path / mark).is_file() for mark in _MARKS)


def is_image_folder(path: Path) -> bool:
    """True for a folder that is one image, even if its metadata is missing: opening it then raises the error."""
    return path.is_dir() and (path.suffix == ".zarr" or is_zarr(path))


def image_folders(folder: Path) -> list[Path]:
    """Return the images in a folder that are folders themselves, sorted by name."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and is_image_folder(p))


def files_of_folder(path: Path) -> list[Path]:
    """Return all files of an image that is a folder, metadata and chunks, sorted by name."""
    return sorted(p for p in path.rglob("*") if p.is_file())


def _described(
    cls: type[ZarrField],
    path: str | Path,
    *,
    array: Any,
    axes: list[str],
    scale: dict[str, float],  # axis -> um per pixel
    omero: dict[str, Any],  # OME-Zarr's display settings, with the names and colours of the channels
) -> ZarrField:
    size = dict(zip(axes, array.shape, strict=True))
    for axis, n in size.items():
        if axis not in "cyx" and n > 1:
            raise UserError(
                f"{path} has length {n} along axis {axis!r}; a field has one plane per channel: save one of them."
            )
    if not {"y", "x"} <= set(axes) or axes[-2:] != ["y", "x"]:
        raise UserError(f"{path} has axes {axes}, but the last two must be y and x.")
    if array.dtype.kind not in "buif" or 0 in array.shape:
        raise UserError(f"{path} holds {array.dtype} pixels of shape {array.shape}, which is not an image.")
    if not is_url(path):  # a web server does not list its files
        _warn_of_missing_chunks(Path(path), array)
    channels = [f"channel_{i}" for i in range(size.get("c", 1))] if size.get("c", 1) > 1 else ["grey"]
    given = omero.get("channels") or []
    labels = [str(c.get("label") or "") for c in given]
    if len(labels) == len(channels) and all(labels) and len({n.lower() for n in labels}) == len(labels):
        channels = labels
    colors = [_color(c.get("color")) for c in given] if len(given) == len(channels) else None
    return cls(
        path=Path(path),
        format="ome-zarr" if scale or omero else "zarr",
        channels=channels,
        shape=(size["y"], size["x"]),
        pixel_size_um=scale.get("x"),
        colors=colors,
        array=array,
        axes=axes,
    )


def _warn_of_missing_chunks(path: Path, array: Any) -> None:
    """Warn of chunks without a file: they are empty by the format's rule, or lost."""
    n_missing = array.nchunks - array.nchunks_initialized
    if n_missing > 0:
        log.warning(
            "%s: %d of %d chunks have no file and are read as %s", path, n_missing, array.nchunks, array.fill_value
        )


def _plain_axes(path: str | Path, ndim: int) -> list[str]:
    if ndim not in (2, 3):
        raise UserError(f"{path} is a zarr array with {ndim} axes; it must have (y, x) or (channel, y, x).")
    return ["c", "y", "x"][-ndim:]


def _scale(image: dict[str, Any], level: dict[str, Any]) -> dict[str, float]:
    """Pixel size in um along each axis that has a unit of length."""
    factors = np.ones(len(image["axes"]))
    for holder in (image, level):
        for transform in holder.get("coordinateTransformations", []):
            if transform.get("type") == "scale":
                factors = factors * np.asarray(transform["scale"], float)
    units = {a["name"].lower(): _UM_PER.get(a.get("unit", "")) for a in image["axes"]}
    return {axis: float(f) * unit for (axis, unit), f in zip(units.items(), factors, strict=True) if unit}


def _color(text: Any) -> tuple[int, int, int] | None:
    try:
        r, g, b = bytes.fromhex(str(text)[:6])
    except ValueError:
        return None
    return r, g, b
