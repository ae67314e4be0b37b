"""AnnData files: tables round-trip, squidpy accepts them, and files are written whole or not at all."""

import sys

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.io import write_h5ad

CHANNELS = ["DAPI", "PD-1/PD-L1"]


@pytest.fixture
def cells(rng):
    """40 cells of two fields with the columns of `measure_cells`; one has no phenotype."""
    n = 40
    table = pd.DataFrame({"field": ["a"] * 20 + ["b"] * 20, "label": [*range(1, 21)] * 2})
    table[["x_px", "y_px"]] = rng.random((n, 2)) * 100
    table[["x_um", "y_um"]] = table[["x_px", "y_px"]] / 2
    for name in CHANNELS:
        table[f"Nucleus {name} mean"], table[f"Nucleus {name} sum"] = rng.random((2, n))
    table["phenotype"] = [None, *["CD8+", "tumour"] * 19, "tumour"]
    table["touches_border"] = rng.random(n) > 0.5
    table.attrs["pixel_size_um"] = 0.5
    return table


@pytest.fixture
def anndata():
    return pytest.importorskip("anndata", reason="anndata is not installed")


def test_a_table_round_trips(tmp_path, cells, anndata):
    write_h5ad(tmp_path / "a.h5ad", cells, CHANNELS, pixel_size_from="file")
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert found.shape == (40, 2)
    assert list(found.var_names) == CHANNELS
    assert found.X.dtype == np.float32
    np.testing.assert_allclose(found.X, cells[[f"Nucleus {c} mean" for c in CHANNELS]])
    np.testing.assert_array_equal(found.obsm["spatial"], cells[["x_um", "y_um"]])
    assert list(found.obs_names[[0, -1]]) == ["a_1", "b_20"]
    assert "Nucleus PD-1_PD-L1 sum" in found.obs
    assert "Nucleus DAPI mean" not in found.obs
    assert found.obs["touches_border"].tolist() == cells["touches_border"].tolist()
    assert found.obs["phenotype"].isna().tolist() == cells["phenotype"].isna().tolist()
    assert found.obs["field"].cat.categories.tolist() == ["a", "b"]
    how = found.uns["dedl_fastai"]
    assert (how["pixel_size_um"], how["pixel_size_from"], how["spatial_unit"]) == (0.5, "file", "um")


@pytest.mark.parametrize("dropped", [True, False])
def test_without_a_pixel_size_centroids_are_in_pixels(tmp_path, cells, anndata, dropped):
    cells = cells.drop(columns=["x_um", "y_um"]) if dropped else cells.assign(x_um=np.nan, y_um=np.nan)
    cells.attrs["pixel_size_um"] = None
    write_h5ad(tmp_path / "a.h5ad", cells, CHANNELS)
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(found.obsm["spatial"], cells[["x_px", "y_px"]])
    assert found.uns["dedl_fastai"]["spatial_unit"] == "px"
    assert "pixel_size_um" not in found.uns["dedl_fastai"]


def test_categories_and_a_table_without_cells_round_trip(tmp_path, cells, anndata):
    cells["phenotype"] = cells["phenotype"].astype("category")
    write_h5ad(tmp_path / "a.h5ad", cells.iloc[:0], CHANNELS)
    assert anndata.read_h5ad(tmp_path / "a.h5ad").shape == (0, 2)
    write_h5ad(tmp_path / "b.h5ad", cells, CHANNELS)
    found = anndata.read_h5ad(tmp_path / "b.h5ad").obs["phenotype"]
    assert found.cat.categories.tolist() == ["CD8+", "tumour"]


def test_squidpy_builds_a_neighbour_graph(tmp_path, cells, anndata):
    squidpy = pytest.importorskip("squidpy", reason="squidpy is not installed")
    write_h5ad(tmp_path / "a.h5ad", cells, CHANNELS)
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    squidpy.gr.spatial_neighbors(found, coord_type="generic", n_neighs=4, library_key="field")
    graph = found.obsp["spatial_connectivities"]
    assert (graph.sum(axis=1) == 4).all()
    assert graph[:20, 20:].nnz == 0  # no neighbours across fields


def test_a_missing_column_is_named_in_the_error(tmp_path, cells, anndata):
    with pytest.raises(UserError, match="Nucleus CD8 mean"):
        write_h5ad(tmp_path / "a.h5ad", cells, ["CD8"])
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_keeps_the_old_file(tmp_path, cells, anndata, monkeypatch):
    path = tmp_path / "a.h5ad"
    path.write_bytes(b"old")

    def write(self, path, **options):
        path.write_bytes(b"half")
        raise RuntimeError("boom")

    monkeypatch.setattr(anndata.AnnData, "write_h5ad", write)
    with pytest.raises(RuntimeError, match="boom"):
        write_h5ad(path, cells, CHANNELS)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]


def test_without_anndata_the_message_names_the_extra(tmp_path, cells, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(UserError, match=r"dedl-fastai\[spatial\]"):
        write_h5ad(tmp_path / "a.h5ad", cells, CHANNELS)
    assert list(tmp_path.iterdir()) == []
