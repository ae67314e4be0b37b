"""`KINDS`: the kinds of files and zarr folders for a predicted field, with their writers; planes are read in slices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Image

from ..cells.neighbours import neighbourhoods
from ..cells.options import RADIUS_UM
from ..errors import UserError
from ..extras import optional
from ..io.anndata import write_h5ad
from ..io.cell_tables import PARQUET, write_parquet
from ..io.csv_file import write_csv
from ..io.files import written_whole
from ..io.geojson import write_geojson
from ..io.imagej_rois import ROIS, check_fits_rois, write_imagej_rois
from ..io.ome_tiff import write_ome_tiff
from ..io.ome_zarr import write_ome_zarr
from ..io.outlines import cell_polygons
from ..io.spatialdata import SPATIALDATA, write_spatialdata
from .overlay import class_colors, draw_overlay

if TYPE_CHECKING:  # the names of the kinds are needed where nothing is predicted, and PyTorch takes seconds to import
    from ..inference.field_cells import FieldCells


@dataclass
class Result:
    """A predicted field, and the settings that its files depend on."""

    found: "FieldCells"
    channel: int = 0  # index of the channel that the overlay shows
    radius_um: float = RADIUS_UM  # of neighbourhoods

    @property
    def phenotypes(self) -> list[str]:
        """The types of the cells, in the order of the rules or the classifier; empty without them."""
        cells = self.found.cells
        return [str(c) for c in cells["phenotype"].cat.categories] if "phenotype" in cells else []

    @cached_property
    def overlay(self) -> Image:
        """The picture of the field with the outlines of its nuclei."""
        found = self.found
        return draw_overlay(
            found.field,
            channel=self.channel,
            labels=found.labels,
            cells=found.cells,
            colors=class_colors(self.phenotypes),
        )


def _plane_writer(
    plane: str, name: str, dtype: str, convert: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Path, Result], None]:
    """Return a writer of one plane as OME-TIFF, converted block by block."""

    def write(path: Path, result: Result) -> None:
        found = result.found
        source = getattr(found, plane)

        def read(_channel: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
            return convert(np.asarray(source[y0:y1, x0:x1])).astype(dtype, copy=False)

        field = found.field
        write_ome_tiff(
            path,
            read,
            channel_names=[name],
            pixel_size_um=field.pixel_size_um,
            origin_um=field.origin_um,
            shape=tuple(source.shape),
            dtype=dtype,
        )

    return write


def _unchanged(block: np.ndarray) -> np.ndarray:
    return block


def _black_and_white(block: np.ndarray) -> np.ndarray:
    return (block > 0) * np.uint8(255)


def _write_cells(path: Path, result: Result) -> None:
    write_csv(path, result.found.cells)


def _write_parquet(path: Path, result: Result) -> None:
    write_parquet(path, result.found.cells)


def _write_geojson(path: Path, result: Result) -> None:
    cells = result.found.cells
    classes = dict(zip(cells["label"], cells["phenotype"], strict=True)) if result.phenotypes else None
    write_geojson(
        path,
        cell_polygons(result.found.labels),
        classes=classes,
        measurements=cells.set_index("label").select_dtypes(["number", "bool"]),
        colors=class_colors(result.phenotypes),
    )


def _write_rois(path: Path, result: Result) -> None:
    write_imagej_rois(path, cell_polygons(result.found.labels))


def _write_h5ad(path: Path, result: Result) -> None:
    field = result.found.field
    write_h5ad(
        path,
        result.found.cells,
        field.channels,
        pixel_size_um=field.pixel_size_um,
        pixel_size_from=field.pixel_size_from,
    )


class _OneChannel:
    """A plane (H, W) as an image (1, H, W), sliced as it is."""

    def __init__(self, plane: Any):
        self.plane, self.shape, self.dtype = plane, (1, *plane.shape), np.dtype(plane.dtype)

    def __getitem__(self, where: tuple) -> np.ndarray:
        return self.plane[where[1:]]


def _zarr_writer(version: str) -> Callable[[Path, Result], None]:
    """Return a writer of the probability, with the nuclei as its label image, as OME-Zarr."""

    def write(path: Path, result: Result) -> None:
        found = result.found
        write_ome_zarr(
            path,
            _OneChannel(found.probability),
            ["probability"],
            found.field.pixel_size_um,
            origin_um=found.field.origin_um,
            labels={"nuclei": found.labels},
            version=version,
        )

    return write


def _write_spatialdata(path: Path, result: Result) -> None:
    write_spatialdata(path, result.found.field, result.found.labels, result.found.cells)


def _write_overlay(path: Path, result: Result) -> None:
    with written_whole(path) as tmp:
        result.overlay.save(tmp, format="PNG")


def _write_neighbours(path: Path, result: Result) -> None:
    with written_whole(path) as tmp:
        neighbourhoods(result.found.cells, result.radius_um).to_csv(tmp, index=False)


@dataclass(frozen=True)
class FileKind:
    """The ending of a file's name, its writer, and the optional package it needs (the arguments of `optional`)."""

    ending: str
    write: Callable[[Path, Result], None]
    needs: tuple[str, str, str] | None = None
    has_types: bool = True  # False: it does not depend on the types of the cells, and may be written before them
    planes: tuple[str, ...] = ()  # that the prediction has to keep for it, beside the labels
    is_in_all: bool = True  # False: another form of another kind


def _plane(ending: str, plane: str, name: str, dtype: str, convert: Callable = _unchanged) -> FileKind:
    planes = () if plane == "labels" else (plane,)
    return FileKind(ending, _plane_writer(plane, name, dtype, convert), has_types=False, planes=planes)


KINDS = {
    "mask": _plane("_mask.ome.tif", "labels", "nuclei", dtype="uint8", convert=_black_and_white),
    "labels": _plane("_labels.ome.tif", "labels", "nucleus id", dtype="uint32"),
    "cells": FileKind("_cells.csv", _write_cells),
    "geojson": FileKind(".geojson", _write_geojson),
    "geojson.gz": FileKind(".geojson.gz", _write_geojson, is_in_all=False),
    "probability": _plane("_probability.ome.tif", "probability", "probability", dtype="float32"),
    "uncertainty": _plane("_uncertainty.ome.tif", "uncertainty", "entropy in bits", dtype="float32"),
    "overlay": FileKind("_overlay.png", _write_overlay),
    "neighbours": FileKind("_neighbours.csv", _write_neighbours),
    "parquet": FileKind("_cells.parquet", _write_parquet, PARQUET),
    "rois": FileKind("_rois.zip", _write_rois, ROIS, has_types=False),
    "omezarr": FileKind("_nuclei.ome.zarr", _zarr_writer("0.4"), has_types=False, planes=("probability",)),
    "omezarr05": FileKind(
        "_nuclei_0.5.ome.zarr",
        _zarr_writer("0.5"),
        ("zarr.abc", "spatial", "OME-Zarr 0.5 files"),  # which zarr 2 lacks
        has_types=False,
        planes=("probability",),
    ),
    "spatialdata": FileKind(".spatialdata.zarr", _write_spatialdata, SPATIALDATA),
    "h5ad": FileKind(".h5ad", _write_h5ad, ("anndata", "spatial", "AnnData files")),
}


def parse_kinds(text: str, has_types: bool) -> list[str]:
    """Return "mask,cells" as a list, "all" as every kind with its package installed. `UserError` for unusable kinds.

    "all" may stand beside kinds that it does not include, such as geojson.gz.
    """
    words = [w.strip() for w in text.split(",") if w.strip()]
    unknown = [w for w in words if w not in (*KINDS, "all")]
    if unknown or not words:
        raise UserError(f"write={text!r}: give all, or some of {', '.join(KINDS)}, separated by commas.")
    possible = [k for k, v in KINDS.items() if v.is_in_all and _is_installed(v.needs)] if "all" in words else []
    words = [k for k in possible if has_types or k != "neighbours"] + [w for w in words if w != "all"]
    if "neighbours" in words and not has_types:
        raise UserError("write=neighbours counts phenotypes: give `rules` or `cell_types` too.")
    for kind in words:
        needs = KINDS[kind].needs
        if needs:
            optional(*needs)
    return list(dict.fromkeys(words))


def _is_installed(needs: tuple[str, str, str] | None) -> bool:
    return needs is None or find_spec(needs[0]) is not None


def planes_of(kinds: Sequence[str]) -> list[str]:
    """Return the planes that a prediction has to keep for these kinds."""
    return list(dict.fromkeys(plane for kind in kinds for plane in KINDS[kind].planes))


def check_size(kinds: Sequence[str], path: Any, shape: tuple[int, int]) -> None:
    """Raise a `UserError` for a field that is too large for one of the kinds, before it is predicted."""
    if "rois" in kinds:
        check_fits_rois(path, shape)
