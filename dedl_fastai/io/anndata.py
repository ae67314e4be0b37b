"""Cell tables as AnnData (.h5ad), as scanpy and squidpy take them. Needs the extra "spatial"."""

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
    cells: pd.DataFrame,  # one row a cell, with x_px, y_px and, where the pixel size is known, x_um, y_um
    channels: Sequence[str],  # in the order of X's columns
    *,
    column: str = "Nucleus {channel} mean",  # the columns that become X
    pixel_size_um: float | None = None,  # None: what `cells.attrs` says, if anything
    pixel_size_from: str = "",  # how the pixel size is known, such as "file" or "option"
) -> None:
    """Write X = mean intensities (float32), obs = the other columns, obsm["spatial"] = centroids (x, y).

    Centroids are in um where the table has them, else in pixels; uns["dedl_fastai"] says which. Cells of several
    fields go into one file: squidpy keeps them apart with `spatial_neighbors(adata, library_key="field")`.
    """
    anndata = optional("anndata", "spatial", "AnnData files")
    means = [column.format(channel=c) for c in channels]
    unit = "um" if {"x_um", "y_um"} <= set(cells.columns) and cells[["x_um", "y_um"]].notna().all(axis=None) else "px"
    place = [f"x_{unit}", f"y_{unit}"]
    missing = [c for c in (*means, *place) if c not in cells.columns]
    if missing:
        raise UserError(f"{path}: the cell table has no column {', '.join(missing)}.")
    uns = {"spatial_unit": unit, "intensity": column, "pixel_size_from": pixel_size_from}
    if pixel_size_um := pixel_size_um or cells.attrs.get("pixel_size_um"):
        uns["pixel_size_um"] = float(pixel_size_um)
    adata = anndata.AnnData(
        X=cells[means].to_numpy(np.float32),
        obs=_obs(cells.drop(columns=means)),
        var=pd.DataFrame(index=pd.Index(list(channels), dtype=object)),
        obsm={"spatial": cells[place].to_numpy(np.float64)},
        uns={"dedl_fastai": uns},
    )
    with written_whole(path) as tmp:
        adata.write_h5ad(tmp, compression="gzip")


def _obs(table: pd.DataFrame) -> pd.DataFrame:
    """Columns as HDF5 holds them: text as categories, no slash in a name; rows named field_label, else counted."""
    named = [table[c].astype(str) for c in ("field", "label") if c in table.columns]
    names: Any = ["_".join(parts) for parts in zip(*named, strict=True)] if named else map(str, range(len(table)))
    obs = pd.DataFrame(index=pd.Index(list(names), dtype=object))
    for column in table.columns:
        values = table[column]
        if not (pd.api.types.is_numeric_dtype(values) or isinstance(values.dtype, pd.CategoricalDtype)):
            values = values.astype("str").where(values.notna()).astype("category")
        obs[str(column).replace("/", "_")] = values.to_numpy() if values.dtype.kind in "biuf" else values.array
    return obs
