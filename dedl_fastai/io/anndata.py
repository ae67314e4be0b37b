"""Cell tables as AnnData objects and files (.h5ad) for scanpy and squidpy. Needs the extra "spatial"."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UserError
from ..extras import optional
from .files import written_whole


def write_h5ad(
    path: str | Path,
    cells: pd.DataFrame,  # one row per cell, with x_px, y_px and, if the pixel size is known, x_um, y_um
    channels: Sequence[str],  # in the order of the columns of X
    *,
    column: str = "Nucleus {channel} mean",  # name of the columns that become X
    pixel_size_um: float | None = None,  # None: the value in `cells.attrs`, if there is one
    pixel_size_from: str = "",  # source of the pixel size, such as "file" or "option"
) -> None:
    """Write the table as `cells_anndata` gives it.

    A file may hold the cells of several fields: squidpy separates them with
    `spatial_neighbors(adata, library_key="field")`.
    """
    try:
        adata = cells_anndata(
            cells, channels, column=column, pixel_size_um=pixel_size_um, pixel_size_from=pixel_size_from
        )
    except UserError as e:
        raise UserError(f"{path}: {e}") from e
    with written_whole(path) as tmp:
        adata.write_h5ad(tmp, compression="gzip")


def cells_anndata(
    cells: pd.DataFrame,
    channels: Sequence[str],
    *,
    column: str = "Nucleus {channel} mean",
    pixel_size_um: float | None = None,
    pixel_size_from: str = "",
) -> Any:
    """Return AnnData: X = mean intensities (float32), obs = the other columns, obsm["spatial"] = centroids (x, y).

    Centroids are in um if the table has them in um, else in pixels; uns["dedl_fastai"] holds the unit. The arguments
    are those of `write_h5ad`.
    """
    anndata = optional("anndata", "spatial", "AnnData files")
    means = [column.format(channel=c) for c in channels]
    unit = "um" if {"x_um", "y_um"} <= set(cells.columns) and cells[["x_um", "y_um"]].notna().all(axis=None) else "px"
    centroid = [f"x_{unit}", f"y_{unit}"]
    missing = [c for c in (*means, *centroid) if c not in cells.columns]
    if missing:
        raise UserError(f"the cell table has no column {', '.join(missing)}.")
    uns: dict[str, str | float] = {"spatial_unit": unit, "intensity": column, "pixel_size_from": pixel_size_from}
    if pixel_size_um := pixel_size_um or cells.attrs.get("pixel_size_um"):
        uns["pixel_size_um"] = float(pixel_size_um)
    return anndata.AnnData(
        X=cells[means].to_numpy(np.float32),
        obs=_obs(cells.drop(columns=means)),
        var=pd.DataFrame(index=pd.Index(list(channels), dtype=object)),
        obsm={"spatial": cells[centroid].to_numpy(np.float64)},
        uns={"dedl_fastai": uns},
    )


def _obs(table: pd.DataFrame) -> pd.DataFrame:
    """The columns as HDF5 can store them: text as categories, no slash in names; rows are field_label or numbers."""
    parts = [table[c].astype(str) for c in ("field", "label") if c in table.columns]
    names = ["_".join(row) for row in zip(*parts, strict=True)] if parts else [str(i) for i in range(len(table))]
    obs = pd.DataFrame(index=pd.Index(names, dtype=object))
    for column in table.columns:
        values = table[column]
        if not (pd.api.types.is_numeric_dtype(values) or isinstance(values.dtype, pd.CategoricalDtype)):
            values = values.astype("str").where(values.notna()).astype("category")
        obs[str(column).replace("/", "_")] = values.to_numpy() if values.dtype.kind in "biuf" else values.array
    return obs
