"""OME-Zarr images with label images in them (NGFF 0.4 and 0.5): pyramids that are written block by block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import UserError
from .files import check_is_new, folder_written_whole, write_json
from .pyramid import ReadRegion, count_levels, level_size, mean_block, nearest_block

VERSIONS = {"0.4": 2, "0.5": 3}  # of NGFF -> of the zarr format
_CHUNK = 512
_CHUNK_AXES = ("c", "y", "x")


@dataclass(frozen=True)
class _Frame:
    """Where the pixels are: size in um (None: unknown) and stage position of the upper left corner."""

    pixel_size_um: float | None
    origin_um: tuple[float, float] | None


def write_ome_zarr(
    path: str | Path,
    pixels: Any,  # (C, H, W), sliced block by block: an array, memory map, zarr array, or what has shape and dtype
    channel_names: Sequence[str],
    pixel_size_um: float | None = None,
    *,
    origin_um: tuple[float, float] | None = None,  # stage position (x, y) of the upper left corner
    labels: Mapping[str, Any] | None = None,  # name -> (H, W) integers, written as label images of this image
    version: str = "0.4",  # of NGFF; 0.5 needs zarr 3
) -> None:
    """Write an image and its label images as one OME-Zarr folder, which napari, QuPath and Fiji open.

    Each level halves the one before: intensities as means, labels by nearest neighbours. Raises `UserError` for
    versions that the installed zarr does not write, and if there is something at `path`.
    """
    if version not in VERSIONS:
        raise UserError(f"version={version!r} of OME-Zarr is unknown; it may be {', '.join(VERSIONS)}.")
    if version == "0.5" and not _has_zarr_3():
        raise UserError('OME-Zarr 0.5 needs zarr 3: pip install "zarr>=3", or write version 0.4.')
    if len(channel_names) != pixels.shape[0]:
        raise UserError(f"{path}: {len(channel_names)} channel names were given for {pixels.shape[0]} channels.")
    check_is_new(path)
    frame = _Frame(pixel_size_um, origin_um)
    with folder_written_whole(path) as tmp:
        read = partial(_read_plane, pixels)
        levels = _write_levels(tmp, read, pixels.shape, dtype=pixels.dtype, version=version)
        omero = {"channels": [{"label": n, "color": "FFFFFF", "active": True} for n in channel_names]}
        image = _multiscales(Path(path).stem, levels, "cyx", frame=frame)
        _write_group(tmp, {**image, "omero": omero}, version)
        if labels:
            _write_group(tmp / "labels", {"labels": list(labels)}, version)
        for name, plane in (labels or {}).items():
            _write_label(tmp / "labels" / name, plane, frame=frame, version=version)


def _write_label(folder: Path, plane: Any, frame: _Frame, version: str) -> None:
    def read(_channel: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        return np.asarray(plane[y0:y1, x0:x1])

    levels = _write_levels(folder, read, plane.shape, dtype=np.dtype(plane.dtype), version=version)
    own = {"image-label": {"source": {"image": "../../"}}}
    _write_group(folder, {**_multiscales(folder.name, levels, "yx", frame=frame), **own}, version)


def _read_plane(pixels: Any, channel: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    return np.asarray(pixels[channel, y0:y1, x0:x1])


def _write_levels(folder: Path, read: ReadRegion, shape: tuple[int, ...], dtype: np.dtype, version: str) -> int:
    """Write the arrays of all levels, and return their number."""
    full = (shape[-2], shape[-1])
    n_levels = count_levels(max(full), _CHUNK) + 1
    for level in range(n_levels):
        size = level_size(full, level)
        array = _new_array(folder / str(level), (*shape[:-2], *size), dtype, version)
        reduce = mean_block if dtype.kind == "f" else nearest_block
        for channel in range(shape[0] if len(shape) == 3 else 1):
            for y in range(0, size[0], _CHUNK):
                for x in range(0, size[1], _CHUNK):
                    block = (y, min(y + _CHUNK, size[0]), x, min(x + _CHUNK, size[1]))
                    where = (slice(y, block[1]), slice(x, block[3]))
                    values = reduce(read, channel, level=level, block=block, full=full)
                    array[where if len(shape) == 2 else (channel, *where)] = values.astype(dtype, copy=False)
    return n_levels


def _new_array(path: Path, shape: tuple[int, ...], dtype: np.dtype, version: str) -> Any:
    import zarr

    options: dict[str, Any] = {"zarr_format": VERSIONS[version]} if _has_zarr_3() else {}
    if version == "0.4":
        options["dimension_separator"] = "/"
    else:
        options["dimension_names"] = _CHUNK_AXES[-len(shape) :]
    chunks = (*[1] * (len(shape) - 2), *(min(_CHUNK, n) for n in shape[-2:]))
    return zarr.open_array(str(path), mode="w", shape=shape, chunks=chunks, dtype=dtype, fill_value=0, **options)


def _has_zarr_3() -> bool:
    import zarr

    return int(zarr.__version__.split(".")[0]) >= 3


def _write_group(folder: Path, attributes: dict[str, Any], version: str) -> None:
    if version == "0.4":  # which has its number in each entry, 0.5 beside them
        for entry in (*attributes.get("multiscales", []), *filter(None, [attributes.get("image-label")])):
            entry["version"] = version
        write_json(folder / ".zgroup", {"zarr_format": 2})
        write_json(folder / ".zattrs", attributes)
    else:
        ome = {"ome": {"version": version, **attributes}}
        write_json(folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": ome})


def _multiscales(name: str, n_levels: int, axes: str, frame: _Frame) -> dict[str, Any]:
    """Return the metadata of a pyramid: axes with units, and scale and position of each level."""
    unit = {"unit": "micrometer"} if frame.pixel_size_um else {}
    described = [{"name": a, "type": "channel"} if a == "c" else {"name": a, "type": "space", **unit} for a in axes]
    datasets = [{"path": str(k), "coordinateTransformations": _transforms(2**k, axes, frame)} for k in range(n_levels)]
    return {
        "multiscales": [
            {
                "name": name,
                "axes": described,
                "datasets": datasets,
                "metadata": {"method": f"dedl_fastai {__version__}"},
            }
        ]
    }


def _transforms(step: int, axes: str, frame: _Frame) -> list[dict[str, Any]]:
    size = frame.pixel_size_um or 1.0
    found: list[dict[str, Any]] = [{"type": "scale", "scale": [1.0 if a == "c" else size * step for a in axes]}]
    if frame.origin_um is not None and frame.pixel_size_um:
        x, y = map(float, frame.origin_um)
        found.append({"type": "translation", "translation": [{"c": 0.0, "y": y, "x": x}[a] for a in axes]})
    return found
