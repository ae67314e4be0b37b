"""OME-Zarr and SpatialData of a predicted field, read back by our reader, by zarr and by spatialdata."""

import json

import numpy as np
import pytest

from dedl_fastai.cells.measure import measure_cells
from dedl_fastai.errors import UserError
from dedl_fastai.inference.field_cells import FieldCells
from dedl_fastai.inference.scale import Scale
from dedl_fastai.io import open_field, write_ome_tiff
from dedl_fastai.io.spatialdata import write_spatialdata
from dedl_fastai.predict.kinds import KINDS, Result, planes_of

CHANNELS = ["DAPI", "PD-1 (Opal 520)"]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A field of 700 x 600 pixels of 0.5 um with 30 nuclei."""
    rng = np.random.default_rng(0)
    labels = np.zeros((700, 600), np.int32)
    for i, (y, x) in enumerate((y, x) for y in range(10, 700, 120) for x in range(10, 600, 120)):
        labels[y : y + 12, x : x + 14] = i + 1
    path = tmp_path_factory.mktemp("field") / "f.ome.tif"
    pixels = rng.random((2, 700, 600)).astype(np.float32)
    write_ome_tiff(path, pixels, CHANNELS, 0.5, origin_um=(1000.0, 2000.0))
    with open_field(path) as field:
        p = np.where(labels, 0.75, 0.25).astype(np.float32)
        cells = measure_cells(labels, field, probability=p)
        cells.insert(0, "field", "f")
        yield Result(
            FieldCells(field, labels, cells, threshold=0.5, scale=Scale(), field_uncertainty=0.8, probability=p)
        )


@pytest.mark.parametrize("kind", ["omezarr", "omezarr05"])
def test_omezarr_has_the_probability_and_the_nuclei_as_its_labels(result, tmp_path, kind):
    path = tmp_path / "f.ome.zarr"
    KINDS[kind].write(path, result)
    with open_field(path) as written:
        assert written.channels == ["probability"]
        assert written.pixel_size_um == 0.5 and written.format == "ome-zarr"
        np.testing.assert_array_equal(written.read(0), result.found.probability)
    with open_field(path / "labels" / "nuclei") as written:
        np.testing.assert_array_equal(written.read(0), result.found.labels)
    meta = path / ".zattrs" if kind == "omezarr" else path / "zarr.json"
    text = json.loads(meta.read_text())
    (scales,) = (text if kind == "omezarr" else text["attributes"]["ome"])["multiscales"]
    coarse = scales["datasets"][1]["coordinateTransformations"]
    assert coarse[0]["scale"] == [1, 1, 1] and coarse[1]["translation"] == [0, 2000, 1000]
    assert planes_of([kind, "labels"]) == ["probability"]
    with pytest.raises(UserError, match="exists already"):
        KINDS[kind].write(path, result)


def test_omezarr_is_read_by_ome_zarr(result, tmp_path):
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is not installed")
    from ome_zarr.io import parse_url

    for kind in ("omezarr", "omezarr05"):
        KINDS[kind].write(tmp_path / kind, result)
        image, labels = [n for n in reader.Reader(parse_url(tmp_path / kind))() if n.data]
        assert [d.shape for d in image.data] == [(1, 700, 600), (1, 350, 300)]
        np.testing.assert_array_equal(np.asarray(labels.data[1]), result.found.labels[::2, ::2])


def test_spatialdata_reads_image_labels_outlines_and_table(result, tmp_path):
    spatialdata = pytest.importorskip("spatialdata", reason="spatialdata is not installed: it is in the extra spatial")
    from spatialdata.transformations import get_transformation

    KINDS["spatialdata"].write(tmp_path / "f.zarr", result)
    store = spatialdata.read_zarr(tmp_path / "f.zarr")
    found = result.found
    assert set(store.coordinate_systems) == {"pixels", "global", "slide"}
    image = store["image"]["scale0"]["image"]
    assert image.c.values.tolist() == CHANNELS and len(store["image"]) == 2
    np.testing.assert_array_equal(image.values[1], found.field.read(1))
    np.testing.assert_array_equal(store["nuclei"]["scale0"]["image"].values, found.labels)
    table = store["cells"]
    assert table.obs["label"].tolist() == found.cells["label"].tolist() and table.var_names.tolist() == CHANNELS
    assert table.uns["spatialdata_attrs"]["region"] == "nuclei"
    assert store["outlines"].index.tolist() == found.cells["label"].tolist()
    moved = get_transformation(store["outlines"], "slide").to_affine_matrix(("x", "y"), ("x", "y"))
    np.testing.assert_allclose(moved @ [10, 10, 1], [1005, 2005, 1])
    nuclei = spatialdata.transform(store["outlines"], to_coordinate_system="global")
    np.testing.assert_allclose(nuclei.area, found.cells["area_um2"], rtol=0.1)  # without the corners of pixels
    _, joined = spatialdata.join_spatialelement_table(
        sdata=store, spatial_element_names=["nuclei"], table_name="cells", how="left"
    )
    assert joined.n_obs == len(found.cells)
    two = spatialdata.concatenate({"f": store, "g": store}, concatenate_tables=True)
    assert two["cells"].n_obs == 2 * len(found.cells) and "nuclei-g" in two.labels


def test_spatialdata_of_a_field_without_nuclei_and_pixel_size(tmp_path):
    spatialdata = pytest.importorskip("spatialdata", reason="spatialdata is not installed: it is in the extra spatial")
    write_ome_tiff(tmp_path / "e.ome.tif", np.zeros((40, 50), np.float32), ["DAPI"])
    labels = np.zeros((40, 50), np.int32)
    with open_field(tmp_path / "e.ome.tif") as field:
        cells = measure_cells(labels, field)
        write_spatialdata(tmp_path / "e.zarr", field, labels, cells)
    store = spatialdata.read_zarr(tmp_path / "e.zarr")
    assert set(store.coordinate_systems) == {"pixels", "global"} and store["cells"].n_obs == 0
