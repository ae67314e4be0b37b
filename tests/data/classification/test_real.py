"""Classification data of real fields, if available: labelled tiles, a breast field, an inForm export."""

import numpy as np
import pandas as pd

from dedl_fastai.data import Cohort, cell_centres, clf_dataloaders, field_labels, split_cohort
from dedl_fastai.data.classification.items import clf_items
from dedl_fastai.io import open_field, read_cell_table, read_segmentation_maps


def test_labelled_tiles_keep_their_splits_and_labels(shared_data, tmp_path):
    folder = shared_data / "tiles_Set4_1_multilabel"
    cohort = split_cohort(Cohort.load(folder), "column")
    dls = clf_dataloaders(cohort, size=96, bs=16, cache=tmp_path)
    listed = pd.read_csv(folder / "labels.csv", keep_default_na=False).set_index("image")
    assert dls.vocab == ["CD68+", "CD8+", "CK+", "FoxP3+", "other"]
    test = clf_items(cohort, dls.facts, "test", tmp_path)
    assert len(test) == 70 and len(dls.train.items) + len(dls.valid.items) == 182
    for split, items in (("test", test), ("train", [*dls.train.items, *dls.valid.items])):
        for item in items:
            row = listed.loc[f"{item.field}.png"]
            assert row.split == split and set(item.labels) == set(row.labels.split(";"))
            assert all((row[f"count {c}"] > 0) == (c in item.labels) for c in dls.vocab)
    assert dls.one_batch()[0].shape == (16, 3, 96, 96)


def test_tiles_of_the_breast_field_have_all_its_cells(shared_data, tmp_path):
    cohort = Cohort.load(shared_data / "csm_breast_7ch")
    dls = clf_dataloaders(cohort, "markers", size=32, bs=8, tile=50, cache=tmp_path)
    counts = dls.labels.counts
    assert counts.sum().to_dict() == {"CD8_GZMBneg": 38, "CD8_GZMBpos": 10, "TUMOR": 641, "other": 129}
    assert len(counts) == 100 and counts.sum(axis=1).between(1, 30).all()
    assert dls.one_batch()[0].shape == (8, 7, 32, 32)
    sizes = {s: len(clf_items(cohort, dls.facts, s, tmp_path)) for s in ("train", "valid", "test")}
    assert sizes == {"train": 40, "valid": 20, "test": 20}
    assert any("'TUMOR' is present in every one of the 100 tiles" in w for w in dls.labels.warnings)


def test_breast_tiles_agree_with_the_published_tile_labels(shared_data, tmp_path):
    folder = shared_data / "csm_breast_7ch"
    labels = clf_dataloaders(Cohort.load(folder), "markers", size=16, bs=8, tile=62, cache=tmp_path).labels
    listed = pd.read_csv(folder / "tile_labels.csv").set_index(["y0", "x0"])
    counts = labels.counts.set_index(pd.MultiIndex.from_frame(labels.cohort.table[["y", "x"]]))
    assert len(counts) == 64  # the strip of 4 pixels at the edges is left out
    for name in labels.vocab:
        expected = listed[f"count {'OTHER' if name == 'other' else name}"]
        np.testing.assert_array_equal(counts[name].loc[expected.index], expected)


def test_inform_phenotypes_and_positions_match_its_segmentation_map(shared_data):
    cohort = Cohort.load(shared_data / "inform_FIHC4")
    labels = field_labels(cohort)
    assert labels.counts.iloc[0].to_dict() == {"B": 249, "Cytotoxic T": 6, "Helper T": 15}
    cells = read_cell_table(cohort.table.cells[0])
    with open_field(cohort.table.image[0]) as field:
        y, x = cell_centres(cells, field).astype(int).T
    nuclei = read_segmentation_maps(cohort.table["mask"][0])["nucleus"]
    assert (nuclei[y, x] == cells["Cell ID"]).mean() > 0.95


def test_lung_positions_in_microns_are_converted_to_pixels(shared_data):
    from types import SimpleNamespace

    cells = read_cell_table(next((shared_data / "inform_lung_fields").glob("*_cells.tsv")))
    field = SimpleNamespace(shape=(1400, 1868), pixel_size_um=0.5, origin_um=None, path="lung.jpg")
    pixels = cell_centres(cells, field)
    np.testing.assert_allclose(cell_centres(cells.drop(columns=["x_px", "y_px"]), field), pixels)
