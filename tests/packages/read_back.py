"""Reads the files of `predict --write` and `export` back with the libraries that they are for, without this package.

`python tests/packages/read_back.py RESULTS [MODEL.bioimageio.zip]` prints a table of the kinds, the libraries with
their versions, and what agreed; the exit code is 1 if something does not. The label image, read by tifffile, and the
table, read by pandas, are what the other kinds are compared with. `make read-back` runs it in an environment that has
nothing of the checkout.
"""

import argparse
import gzip
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np


class Wrong(Exception):
    """What a library reads is not what was written."""


def agree(is_so: Any, message: str) -> None:
    """Raise `Wrong` with the message unless it is so."""
    if not bool(is_so):
        raise Wrong(message)


@dataclass(frozen=True)
class Field:
    """The results of one field, by the name of the field."""

    folder: Path
    name: str

    def file(self, ending: str) -> Path:
        """Return the file or folder with this ending. Raises `Wrong` if it is missing."""
        path = self.folder / f"{self.name}{ending}"
        agree(path.exists(), f"{path.name} is missing")
        return path

    @cached_property
    def labels(self) -> np.ndarray:
        """The ids of the nuclei (H, W)."""
        import tifffile

        return tifffile.imread(self.file("_labels.ome.tif"))

    @cached_property
    def cells(self) -> Any:
        """The table of cells."""
        import pandas as pd

        return pd.read_csv(self.file("_cells.csv"))

    @cached_property
    def pixel_size_um(self) -> float:
        """The edge of a pixel, from the columns of areas."""
        return float(np.sqrt(self.cells["area_um2"] / self.cells["area_px"]).iloc[0])

    @property
    def ids(self) -> list[int]:
        """The labels of the table, in its order."""
        return self.cells["label"].tolist()

    @property
    def channels(self) -> list[str]:
        """The channels that the table measures, in its order."""
        return [
            c[len("Nucleus ") : -len(" mean")] for c in self.cells if c.startswith("Nucleus ") and c[-5:] == " mean"
        ]


def read_mask(field: Field) -> str:
    mask, facts = _ome_tiff(field, "_mask.ome.tif")
    agree((mask == 255 * (field.labels > 0)).all(), "the mask is not where the labels are")
    return f"{facts}; 0 and 255, 255 where there are labels"


def read_labels(field: Field) -> str:
    labels, facts = _ome_tiff(field, "_labels.ome.tif")
    agree(np.array_equal(np.unique(labels[labels > 0]), sorted(field.ids)), "the ids are not those of the table")
    return f"{facts}; the ids of the table"


def read_probability(field: Field) -> str:
    plane, facts = _ome_tiff(field, "_probability.ome.tif")
    _check_range(plane, field)
    inside, outside = plane[field.labels > 0].mean(), plane[field.labels == 0].mean()
    agree(inside > 0.5 > outside, f"mean {inside:.2f} inside nuclei, {outside:.2f} outside")
    return f"{facts}; within 0 to 1, higher in nuclei"


def read_uncertainty(field: Field) -> str:
    plane, facts = _ome_tiff(field, "_uncertainty.ome.tif")
    _check_range(plane, field)
    return f"{facts}; within 0 to 1 bit"


def _ome_tiff(field: Field, ending: str) -> tuple[np.ndarray, str]:
    import tifffile

    with tifffile.TiffFile(field.file(ending)) as tif:
        agree(tif.is_ome, "it is not an OME-TIFF")
        pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
        plane = tif.asarray()
    size, unit = pixels["PhysicalSizeX"], pixels.get("PhysicalSizeXUnit", "µm")
    _check_size(size, field)
    agree(pixels["Channel"]["Name"], "the channel has no name")
    return plane, f'{plane.dtype}, channel "{pixels["Channel"]["Name"]}", pixel size in {unit}'


def _check_size(pixel_size: float, field: Field) -> None:
    agree(abs(pixel_size / field.pixel_size_um - 1) < 1e-3, f"the pixel size is {pixel_size}")


def _check_range(plane: np.ndarray, field: Field) -> None:
    agree(plane.shape == field.labels.shape, f"the shape is {plane.shape}")
    agree(plane.min() >= 0 and plane.max() <= 1, f"values from {plane.min()} to {plane.max()}")


def read_cells(field: Field) -> str:
    cells = field.cells
    agree(cells["label"].is_unique and len(field.channels), "labels are not unique, or no channel is measured")
    areas = np.bincount(field.labels.ravel())[cells["label"]]
    agree((areas == cells["area_px"]).all(), "areas are not those of the labels")
    return f"a row for each nucleus with its area in pixels; {len(field.channels)} channels"


def read_parquet(field: Field) -> str:
    import pandas as pd

    table = pd.read_parquet(field.file("_cells.parquet"))
    agree(list(table) == list(field.cells), "the columns are not those of the CSV")
    agree(_same_table(table, field.cells), "the values are not those of the CSV")
    return "columns and values of the CSV"


def _same_table(table: Any, other: Any) -> bool:
    """Whether two tables have the same text, and the same numbers to six digits."""
    import pandas as pd

    for name in table:
        a, b = table[name], other[name]
        if pd.api.types.is_numeric_dtype(b) and not pd.api.types.is_bool_dtype(b):
            same = np.allclose(a.astype(float), b.astype(float), rtol=1e-5, atol=1e-8, equal_nan=True)
        else:
            same = list(a.astype(object).where(a.notna(), None)) == list(b.astype(object).where(b.notna(), None))
        if not same:
            return False
    return True


def read_geojson(field: Field) -> str:
    import geopandas

    frame = geopandas.read_file(field.file(".geojson"))
    _check_outlines(frame["name"].astype(int), frame.geometry, field)
    features = json.loads(field.file(".geojson").read_text(encoding="utf-8"))["features"]
    _check_features(features, field)
    return "polygons enclose the pixels of their labels; class and measurements of the table"


def read_geojson_gz(field: Field) -> str:
    with gzip.open(field.file(".geojson.gz"), "rb") as f:
        agree(f.read() == field.file(".geojson").read_bytes(), "it is not the other GeoJSON, compressed")
    return "the bytes of the other GeoJSON"


def _check_outlines(ids: Iterable[int], polygons: Iterable[Any], field: Field) -> None:
    """Check that the polygon of each nucleus encloses the centres of its pixels; one in a hundred pixels may differ."""
    import shapely

    drawn = np.zeros_like(field.labels)
    for label, polygon in zip(ids, polygons, strict=True):
        x0, y0, x1, y1 = (int(v) for v in np.floor(polygon.bounds))
        yy, xx = np.mgrid[y0 : y1 + 1, x0 : x1 + 1]
        inside = shapely.contains_xy(polygon, xx + 0.5, yy + 0.5)
        drawn[yy[inside], xx[inside]] = label
    agree(sorted(ids) == sorted(field.ids), "the polygons are not those of the table")
    union = (drawn > 0) | (field.labels > 0)
    share = (drawn == field.labels)[union].mean()
    agree(share > 0.99, f"{share:.1%} of the pixels are in the polygon of their nucleus")


def _check_features(features: list[dict], field: Field) -> None:
    rows = field.cells.set_index("label")
    for feature in features:
        properties = feature["properties"]
        row = rows.loc[int(properties["name"])]
        agree(np.isclose(properties["measurements"]["area_um2"], row["area_um2"], rtol=1e-4), "another area")
        if isinstance(row.get("phenotype"), str):
            agree(properties["classification"]["name"] == row["phenotype"], "another class than in the table")


def read_overlay(field: Field) -> str:
    from PIL import Image

    with Image.open(field.file("_overlay.png")) as picture:
        picture.load()
        agree(picture.mode == "RGB", f"the mode is {picture.mode}")
        agree(picture.size[0] / picture.size[1] - field.labels.shape[1] / field.labels.shape[0] < 0.02, "another shape")
        return "RGB, the shape of the field"


def read_neighbours(field: Field) -> str:
    import pandas as pd

    table, types = pd.read_csv(field.file("_neighbours.csv")), set(field.cells["phenotype"].dropna())
    agree({"from", "to"} <= set(table) and types <= set(table["from"]), "it lacks types of the table")
    return "pairs of the types in the table"


def read_rois(field: Field) -> str:
    import roifile
    import shapely

    rois = roifile.roiread(field.file("_rois.zip"))
    agree({r.roitype for r in rois} == {roifile.ROI_TYPE.POLYGON}, "not all ROIs are polygons")
    _check_outlines([int(r.name) for r in rois], [shapely.Polygon(r.coordinates()) for r in rois], field)
    return "polygons by label, which enclose the pixels of their labels"


def read_h5ad(field: Field) -> str:
    import anndata

    return _check_anndata(anndata.read_h5ad(field.file(".h5ad")), field)


def _check_anndata(table: Any, field: Field) -> str:
    """Check the table, and let squidpy make its graph of neighbours and test which types are next to each other."""
    import squidpy

    cells = field.cells
    means = cells[[f"Nucleus {c} mean" for c in field.channels]].to_numpy()
    agree(list(table.var_names) == field.channels, "the variables are not the channels")
    agree(np.allclose(table.X, means, rtol=1e-4), "X has other intensities than the CSV")
    agree(list(table.obs["label"]) == field.ids, "the rows are not those of the CSV")
    agree(np.allclose(table.obsm["spatial"], cells[["x_um", "y_um"]], rtol=1e-4), "other centroids than the CSV")
    squidpy.gr.spatial_neighbors(table, coord_type="generic", n_neighs=4)
    agree((table.obsp["spatial_connectivities"].sum(axis=1) == 4).all(), "squidpy's graph lacks neighbours")
    done = "intensities, rows and centroids of the CSV; squidpy: graph of neighbours"
    if table.obs.get("phenotype") is not None and table.obs["phenotype"].nunique() > 1:
        typed = table[table.obs["phenotype"].notna()].copy()
        squidpy.gr.spatial_neighbors(typed, coord_type="generic", n_neighs=4)
        squidpy.gr.nhood_enrichment(typed, cluster_key="phenotype", seed=0, show_progress_bar=False)
        agree(
            np.isfinite(typed.uns["phenotype_nhood_enrichment"]["zscore"]).any(), "squidpy's enrichment is not finite"
        )
        done += " and enrichment of types"
    return done


def read_ome_zarr(field: Field) -> str:
    return _check_ome_zarr(field.file("_nuclei.ome.zarr"), field, "0.4")


def read_ome_zarr_05(field: Field) -> str:
    return _check_ome_zarr(field.file("_nuclei_0.5.ome.zarr"), field, "0.5")


def _check_ome_zarr(path: Path, field: Field, version: str) -> str:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(path)
    agree(location is not None, "ome-zarr does not open it")
    agree(location.fmt.version == version, f"the version of NGFF is {location.fmt.version}")
    image, labels = (node for node in Reader(location)() if node.data)
    agree(np.array_equal(np.asarray(labels.data[0]), field.labels), "the labels are not those of the label image")
    agree(image.data[0].shape == (1, *field.labels.shape), f"the shape is {image.data[0].shape}")
    agree(list(image.metadata["channel_names"]) == ["probability"], "the channel has another name")
    scale = image.metadata["coordinateTransformations"][0][0]["scale"]
    _check_size(scale[-1], field)
    return f"NGFF {version}: probability with name and pixel size, labels equal in every pixel"


def read_spatialdata(field: Field) -> str:
    import spatialdata

    path = field.file(".spatialdata.zarr")
    store = spatialdata.read_zarr(path)
    agree({"image", "nuclei", "outlines", "cells"} == {name for _, name, _ in store.gen_elements()}, "other elements")
    agree({"pixels", "global"} <= set(store.coordinate_systems), "coordinate systems are missing")
    image, nuclei = store["image"]["scale0"]["image"], store["nuclei"]["scale0"]["image"]
    agree(list(image.c.values) == field.channels, "the channels of the image are not those of the table")
    agree(np.array_equal(nuclei.values, field.labels), "the labels are not those of the label image")
    outlines = store["outlines"]
    _check_outlines(list(outlines.index), outlines.geometry, field)
    moved = spatialdata.transform(outlines, to_coordinate_system="global")
    ratio = float(np.median(moved.area / outlines.area))
    agree(abs(ratio / field.pixel_size_um**2 - 1) < 1e-3, "the coordinate system global is not in um")
    _, joined = spatialdata.join_spatialelement_table(
        sdata=store, spatial_element_names=["nuclei"], table_name="cells", how="left"
    )
    agree(joined.n_obs == len(field.cells), "the table does not annotate the labels")
    _check_anndata(store["cells"], field)
    return "image by channel names, labels, outlines, um, table joined to labels; squidpy on the table"


def read_napari(field: Field) -> str:
    """Show the field in napari, in a process of its own: Qt ends the process where it finds no display it can use."""
    done = subprocess.run(
        [sys.executable, __file__, str(field.folder), "--show", field.name], capture_output=True, text=True
    )
    agree(done.returncode == 0, f"exit code {done.returncode}: {done.stderr.strip()[-200:]}")
    return done.stdout.strip()


def show_in_napari(field: Field) -> str:
    """Open the SpatialData store of a field in a window of napari, and check its layers."""
    import napari
    import spatialdata
    from napari_spatialdata import Interactive
    from qtpy.QtWidgets import QApplication

    shown = Interactive(spatialdata.read_zarr(field.file(".spatialdata.zarr")), headless=True)
    names, until = ("image", "nuclei", "outlines"), time.monotonic() + 120
    for i, element in enumerate(names, 1):  # a thread reads them, one at a time
        shown.add_element(element, element_coordinate_system="global")
        while len(napari.current_viewer().layers) < i or shown._sdata_widget.worker_thread.isRunning():
            agree(time.monotonic() < until, f"no layer of {element} after two minutes")
            QApplication.processEvents()
            time.sleep(0.05)
    layers = {layer.name: layer for layer in napari.current_viewer().layers}
    agree(set(layers) == set(names), f"the layers are {', '.join(layers)}")
    agree(layers["nuclei"].metadata["adata"].n_obs == len(field.cells), "the labels have no table")
    agree(shown.screenshot().std() > 0, "the window is empty")
    napari.current_viewer().close()
    return "image, labels with their table, and outlines as layers of a window"


def read_bioimageio(path: Path) -> str:
    from bioimageio.core import load_model_description, test_model

    summary = test_model(path)
    agree(summary.status == "passed", f"its test says {summary.status}")
    model = load_model_description(path)
    agree(model.weights.torchscript and model.weights.onnx, "it lacks weights")
    return f"its test passes with TorchScript and ONNX; specification {model.format_version}, authors, licence"


@dataclass(frozen=True)
class Reader:
    """How a kind is read: the function, and the libraries (as packages are named) whose versions are listed."""

    read: Callable[[Any], str]
    libraries: tuple[str, ...]


NAPARI = "spatialdata in napari"
READERS: Mapping[str, Reader] = {
    "mask": Reader(read_mask, ("tifffile",)),
    "labels": Reader(read_labels, ("tifffile",)),
    "probability": Reader(read_probability, ("tifffile",)),
    "uncertainty": Reader(read_uncertainty, ("tifffile",)),
    "cells": Reader(read_cells, ("pandas",)),
    "parquet": Reader(read_parquet, ("pandas", "pyarrow")),
    "geojson": Reader(read_geojson, ("geopandas", "shapely")),
    "geojson.gz": Reader(read_geojson_gz, ()),
    "overlay": Reader(read_overlay, ("pillow",)),
    "neighbours": Reader(read_neighbours, ("pandas",)),
    "rois": Reader(read_rois, ("roifile", "shapely")),
    "h5ad": Reader(read_h5ad, ("anndata", "squidpy")),
    "omezarr": Reader(read_ome_zarr, ("ome-zarr", "zarr")),
    "omezarr05": Reader(read_ome_zarr_05, ("ome-zarr", "zarr")),
    "spatialdata": Reader(read_spatialdata, ("spatialdata", "squidpy")),
    NAPARI: Reader(read_napari, ("napari-spatialdata", "napari")),
    "export --format bioimageio": Reader(read_bioimageio, ("bioimageio.core", "bioimageio.spec")),
}
OF_RUNS = ("export --format bioimageio",)  # not of fields


@dataclass(frozen=True)
class Row:
    """A kind, the libraries that read it, and what agreed or what is wrong."""

    kind: str
    libraries: str
    text: str
    passed: bool


def read_back(results: Path, package: Path | None = None, only: Iterable[str] = ()) -> Iterator[Row]:
    """Yield a row for each kind; every field in the folder has to agree."""
    fields = [Field(results, p.name.removesuffix("_cells.csv")) for p in sorted(results.glob("*_cells.csv"))]
    agree(fields, f"{results} has no tables of cells")
    for kind, reader in READERS.items():
        if only and kind not in only:
            continue
        of = ([package] if package else []) if kind in OF_RUNS else fields
        try:
            said = [reader.read(one) for one in of]
            text, passed = (said[0], True) if said else ("not given", False)
        except Wrong as e:
            text, passed = str(e), False
        except Exception as e:  # a library's own: whatever it is, the kind cannot be read
            text, passed = f"{type(e).__name__}: {e}".splitlines()[0], False
        yield Row(kind, ", ".join(_version(name) for name in reader.libraries) or "Python", text, passed)


def _version(library: str) -> str:
    try:
        return f"{library} {importlib.metadata.version(library)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{library} (not installed)"


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [f"| {r.kind} | {r.libraries} | {'' if r.passed else 'FAILED: '}{r.text} |" for r in rows]
    return "\n".join(["| kind | read by | what agreed |", "|---|---|---|", *lines])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of `predict --write all,geojson.gz --rules ...`")
    parser.add_argument("package", type=Path, nargs="?", help="the zip of `export --format bioimageio`")
    parser.add_argument("--without-napari", action="store_true", help="where there is no display")
    parser.add_argument("--show", metavar="FIELD", help="show this field in napari, and nothing else")
    given = parser.parse_args()
    if given.show:
        sys.stdout.write(show_in_napari(Field(given.results, given.show)) + "\n")
        sys.stdout.flush()
        os._exit(0)  # without Qt's clearing up, which crashes in the middle of it with software OpenGL
    kinds = [k for k in READERS if k != NAPARI or not given.without_napari]
    rows = list(read_back(given.results, given.package, kinds))
    sys.stdout.write(table(rows) + "\n")
    return 0 if all(r.passed for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
