"""A field with its nuclei as a SpatialData store: image, labels, outlines and the table of cells. Extra "spatial"."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..extras import optional
from .anndata import cells_anndata
from .fields.field import Field
from .files import check_is_new, folder_written_whole
from .outlines import cell_polygons
from .pyramid import count_levels

SPATIALDATA = ("spatialdata", "spatial", "SpatialData stores")
_CHUNK = 1024
_TILE = 512  # the coarsest level of a pyramid fits one


def write_spatialdata(
    path: str | Path,
    field: Field,  # all its channels are written
    labels: Any,  # (H, W) ids of nuclei, only sliced
    cells: pd.DataFrame,  # as `measure_cells` returns it
) -> None:
    """Write one store with `image` and `nuclei` (pyramids), `outlines` (polygons by label), and the table `cells`.

    The table annotates `nuclei`, and its rows have the labels as instances. Coordinate systems: `pixels`, and if the
    pixel size is known `global` in um from the upper left corner, and `slide` in um from the origin of the stage.
    Without a pixel size, `global` is in pixels. Pixels are read in blocks while they are written. Raises `UserError`
    if there is something at `path`.
    """
    check_is_new(path)
    spatialdata = optional(*SPATIALDATA)
    systems = _systems(field)
    with folder_written_whole(path) as tmp:
        store = spatialdata.SpatialData(
            images={"image": _image(field, systems)},
            labels={"nuclei": _labels(labels, systems)},
            shapes={"outlines": _outlines(labels, systems)} if len(cells) else {},
            tables={"cells": _table(field, cells)},
        )
        tmp.rmdir()  # spatialdata makes it
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "zarr v3 autosharding")  # of anndata, once for each column
            store.write(tmp)


def _systems(field: Field) -> dict[str, Any]:
    """Return the transformation from pixels (x, y) to each coordinate system."""
    from spatialdata.transformations import Identity, Scale, Sequence, Translation

    if not field.pixel_size_um:
        return {"pixels": Identity(), "global": Identity()}
    scale = Scale([field.pixel_size_um] * 2, axes=("x", "y"))
    systems = {"pixels": Identity(), "global": scale}
    if field.origin_um is not None:
        systems["slide"] = Sequence([scale, Translation(list(map(float, field.origin_um)), axes=("x", "y"))])
    return systems


class _Channels:
    """A field as an array (C, H, W) for dask, which reads the blocks that it needs."""

    dtype, ndim = np.dtype("float32"), 3

    def __init__(self, field: Field):
        self.field, self.shape = field, (len(field.channels), *field.shape)

    def __getitem__(self, where: tuple[slice, slice, slice]) -> np.ndarray:
        channels, rows, columns = where
        region = {"y0": rows.start, "y1": rows.stop, "x0": columns.start, "x1": columns.stop}
        return np.stack([self.field.read(i, **region) for i in range(channels.start, channels.stop)])


def _image(field: Field, systems: dict[str, Any]) -> Any:
    import dask.array
    from spatialdata.models import Image2DModel

    pixels = dask.array.from_array(_Channels(field), chunks=(1, _CHUNK, _CHUNK), lock=True, asarray=False)
    return Image2DModel.parse(
        pixels,
        dims=("c", "y", "x"),
        c_coords=list(field.channels),
        transformations=dict(systems),
        scale_factors=_factors(field.shape),
    )


def _labels(labels: Any, systems: dict[str, Any]) -> Any:
    import dask.array
    from spatialdata.models import Labels2DModel

    plane = dask.array.from_array(labels, chunks=(_CHUNK, _CHUNK), lock=True)
    factors = _factors((labels.shape[0], labels.shape[1]))
    return Labels2DModel.parse(plane, dims=("y", "x"), transformations=dict(systems), scale_factors=factors)


def _factors(shape: tuple[int, int]) -> list[int]:
    """Return the factor between each level of a pyramid and the one before; one level at least has half the size."""
    return [2] * max(1, count_levels(max(shape), _TILE))


def _outlines(labels: Any, systems: dict[str, Any]) -> Any:
    import geopandas
    from shapely import Polygon
    from spatialdata.models import ShapesModel

    ids, rings = zip(*((label, Polygon(ring[:, ::-1])) for label, ring in cell_polygons(labels)), strict=True)
    return ShapesModel.parse(
        geopandas.GeoDataFrame(geometry=list(rings), index=list(ids)), transformations=dict(systems)
    )


def _table(field: Field, cells: pd.DataFrame) -> Any:
    from spatialdata.models import TableModel

    size, source = field.pixel_size_um, field.pixel_size_from
    table = cells_anndata(cells, field.channels, pixel_size_um=size, pixel_size_from=source)
    table.obs.columns = _plain_names(list(table.obs.columns))
    if not len(cells):  # a region without rows is refused
        return TableModel.parse(table)
    table.obs["region"] = pd.Categorical(["nuclei"] * len(cells), ["nuclei"])
    return TableModel.parse(table, region="nuclei", region_key="region", instance_key="label")


def _plain_names(columns: list[str]) -> list[str]:
    """Return names of letters, digits, dots, dashes and underscores, as SpatialData needs them; different ones."""
    names: list[str] = []
    for column in columns:
        name = plain = re.sub(r"[^\w.-]+", "_", column, flags=re.ASCII).strip("_") or "column"
        n = 2
        while name.lower() in {other.lower() for other in names}:
            name, n = f"{plain}_{n}", n + 1
        names.append(name)
    return names
