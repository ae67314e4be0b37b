"""OME-TIFF files, written tile by tile: a pyramid in SubIFDs, channel names and pixel size, in little memory."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ..errors import UserError
from .files import written_whole
from .pyramid import ReadRegion, count_levels, level_size, mean_block, nearest_block

_DTYPES = ("uint8", "uint16", "uint32", "float32")
_FLAT_EDGE = 4096  # images up to this edge get no pyramid by default: viewers load them whole
_CLASSIC_BYTES = 3 << 30  # raw bytes above which 32-bit offsets might not suffice
_BUFFER_BYTES = 16 << 20  # bytes of tiles that are compressed at a time
_UM = "µm"


def write_ome_tiff(
    path: str | Path,
    pixels: Any,  # (H, W) or (C, H, W), sliced block by block: an array, memory map or zarr array; or a `ReadRegion`
    channel_names: Sequence[str],
    pixel_size_um: float | None = None,
    *,
    origin_um: tuple[float, float] | None = None,  # stage position (x, y) of the upper left corner
    description: str = "",  # of the image, any text
    labels: bool | None = None,  # True: nearest neighbours in the pyramid, False: means; None: True for integers
    pyramid: bool | None = None,  # None: if an edge exceeds 4096 pixels
    compression: str | None = "zlib",
    tile: int = 512,  # edge of a tile, a multiple of 16
    shape: tuple[int, ...] | None = None,  # only for a `ReadRegion`
    dtype: Any = None,  # only for a `ReadRegion`
) -> None:
    """Write masks, labels, probabilities or intensities as a tiled OME-TIFF. The same input gives the same bytes.

    At most a few tiles are in memory, and there are no temporary files: each level of the pyramid reads `pixels` again,
    so repeated reads of a block must give the same values.
    """
    read, shape, dtype = _source(path, pixels, shape=shape, dtype=dtype, channel_names=channel_names)
    nearest = dtype.kind != "f" if labels is None else labels
    *_, height, width = shape
    big = max(height, width) > _FLAT_EDGE if pyramid is None else pyramid
    n_levels = count_levels(max(height, width), tile) if big else 0
    raw = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize * 4 // 3
    with written_whole(path) as tmp, tifffile.TiffWriter(tmp, ome=True, bigtiff=raw > _CLASSIC_BYTES) as tif:
        for level in range(n_levels + 1):
            size = level_size((height, width), level)
            metadata = {}
            if level == 0:
                metadata = _ome_metadata(
                    Path(path).name,
                    shape,
                    channel_names=channel_names,
                    pixel_size_um=pixel_size_um,
                    origin_um=origin_um,
                ) | ({"Description": description} if description else {})
            tif.write(
                _tiles(read, shape, level=level, size=size, tile=tile, nearest=nearest, dtype=dtype),
                shape=(*shape[:-2], *size),
                dtype=dtype,
                tile=(tile, tile),
                compression=compression,
                photometric="minisblack",
                buffersize=_BUFFER_BYTES,
                subfiletype=1 if level else None,
                subifds=None if level else n_levels,
                resolution=(1e4 / (pixel_size_um * 2**level),) * 2 if pixel_size_um else None,
                resolutionunit="CENTIMETER" if pixel_size_um else None,
                metadata=metadata,
            )


def _source(
    path: str | Path, pixels: Any, shape: tuple[int, ...] | None, dtype: Any, channel_names: Sequence[str]
) -> tuple[ReadRegion, tuple[int, ...], np.dtype]:
    """A function that reads blocks of `pixels`, with their shape and dtype; raises `UserError` if they do not fit."""
    if callable(pixels):
        if shape is None or dtype is None:
            raise UserError(f"{path}: `shape` and `dtype` must be given with pixels that are a function.")
        read = pixels
    else:
        shape, dtype = pixels.shape, pixels.dtype
        read = _read_slices(pixels, len(shape))
    dtype = np.dtype(dtype)
    if dtype.name not in _DTYPES:
        raise UserError(f"{path}: {dtype} pixels cannot be written: convert them to {', '.join(_DTYPES)}.")
    if len(shape) not in (2, 3) or 0 in shape:
        raise UserError(f"{path}: pixels of shape {tuple(shape)} are not an image (H, W) or (C, H, W).")
    n_channels = shape[0] if len(shape) == 3 else 1
    if len(channel_names) != n_channels:
        raise UserError(f"{path}: {len(channel_names)} channel names were given for {n_channels} channels.")
    return read, tuple(int(n) for n in shape), dtype


def _read_slices(pixels: Any, ndim: int) -> ReadRegion:
    def read(channel: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        return pixels[y0:y1, x0:x1] if ndim == 2 else pixels[channel, y0:y1, x0:x1]

    return read


def _tiles(
    read: ReadRegion,
    shape: tuple[int, ...],
    level: int,  # 0 is full resolution; each level halves the one before
    size: tuple[int, int],  # (h, w) of the level
    tile: int,
    nearest: bool,
    dtype: np.dtype,
) -> Iterator[np.ndarray]:
    """Yield the tiles of a level in the order of a TIFF file; those at the right and bottom edge are padded with 0."""
    reduce = nearest_block if nearest else mean_block
    for channel in range(shape[0] if len(shape) == 3 else 1):
        for y in range(0, size[0], tile):
            for x in range(0, size[1], tile):
                block = (y, min(y + tile, size[0]), x, min(x + tile, size[1]))
                pixels = reduce(read, channel, level=level, block=block, full=(shape[-2], shape[-1]))
                if not nearest and dtype.kind == "u":
                    pixels = np.rint(pixels)
                padded = np.zeros((tile, tile), dtype)
                padded[: pixels.shape[0], : pixels.shape[1]] = pixels
                yield padded


def _ome_metadata(
    name: str,
    shape: tuple[int, ...],
    channel_names: Sequence[str],
    pixel_size_um: float | None,
    origin_um: tuple[float, float] | None,
) -> dict[str, Any]:
    number = uuid.uuid5(
        uuid.NAMESPACE_URL, f"{name} {shape} {list(channel_names)}"
    )  # not random: same input, same bytes
    metadata: dict[str, Any] = {
        "axes": "CYX"[-len(shape) :],
        "Channel": {"Name": list(channel_names)},
        "UUID": f"urn:uuid:{number}",
    }
    if pixel_size_um:
        metadata |= {f"PhysicalSize{a}": pixel_size_um for a in "XY"} | {f"PhysicalSize{a}Unit": _UM for a in "XY"}
    if origin_um is not None:
        n = len(channel_names)
        metadata["Plane"] = {
            "PositionX": [float(origin_um[0])] * n,
            "PositionY": [float(origin_um[1])] * n,
            "PositionXUnit": [_UM] * n,
            "PositionYUnit": [_UM] * n,
        }
    return metadata
