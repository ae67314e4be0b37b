"""Cohorts of real fields, if available: a manifest of DSB 2018, inForm exports of three labs, labelled tiles."""

import numpy as np
import pytest

from dedl_fastai.data import Cohort, PercentileScaling, seg_dataloaders, split_cohort
from dedl_fastai.data.cache import cache_cohort
from dedl_fastai.errors import UserError
from dedl_fastai.io import read_cell_table


def test_dsb2018_is_a_manifest_split_by_patient(shared_data):
    cohort = split_cohort(Cohort.load(shared_data / "dsb2018_fluo"))
    assert cohort.layout == "manifest" and len(cohort) == 220 and cohort.problems == []
    assert cohort.table.split.value_counts().to_dict() == {"train": 146, "valid": 34, "test": 40}
    assert cohort.table.groupby("patient").split.nunique().max() == 1
    assert cohort.table["mask"].ne("").all()


def test_dsb2018_random_split_and_folds_keep_the_mosaics_whole(shared_data):
    cohort = Cohort.load(shared_data / "dsb2018_fluo")
    for fold in range(3):
        done = split_cohort(cohort, "random", seed=1, folds=3, fold=fold)
        assert done.table.groupby("patient").split.nunique().max() == 1
        assert 20 < (done.table.split == "valid").sum() < 100


def test_dsb2018_fields_become_batches(shared_data, tmp_path):
    cohort = Cohort.load(shared_data / "dsb2018_fluo").limited(8)
    dls = seg_dataloaders(split_cohort(cohort, "column"), tile=128, bs=4, cache=tmp_path)
    x, y = dls.one_batch()
    assert x.shape[1:] == (1, 128, 128) and 0 < y.float().mean() < 1
    assert 0 < dls.facts.foreground < 0.6


def test_inform_export_joins_image_map_and_cells(shared_data, tmp_path):
    cohort = Cohort.load(shared_data / "inform_FIHC4")
    row = cohort.table.iloc[0]
    assert cohort.layout == "inform" and len(cohort) == 1 and cohort.problems == []
    assert (row.field, row.patient) == ("FIHC4__0929309_HP_IM3_2", "0929309")
    (entry,) = cache_cohort(cohort, ["DAPI"], PercentileScaling(), tmp_path)
    assert entry.shape == (260, 348)
    mask, dapi = entry.open_mask(), entry.open_pixels()[0]
    assert dapi[mask == 1].mean() > 2 * dapi[mask == 0].mean()  # nuclei are where the nuclear stain is bright


def test_inform_cells_are_on_the_mask(shared_data, tmp_path):
    cohort = Cohort.load(shared_data / "inform_FIHC4")
    (entry,) = cache_cohort(cohort, ["DAPI"], PercentileScaling(), tmp_path)
    cells = read_cell_table(cohort.table.cells[0])
    y, x = (cells[f"Cell {a} Position"].round().astype(int).clip(0) for a in "YX")
    inside = (y < entry.shape[0]) & (x < entry.shape[1])
    assert inside.all() and entry.open_mask()[y, x].mean() > 0.8


def test_lung_composites_are_six_fields_of_two_slides(shared_data):
    cohort = Cohort.load(shared_data / "inform_lung_fields")
    assert cohort.layout == "inform" and len(cohort) == 6 and cohort.problems == []
    assert cohort.table.patient.value_counts().to_dict() == {"Set4_1-6plex": 3, "Set8_11-6plex": 3}
    assert cohort.table["mask"].ne("").all() and cohort.table.image.str.endswith("_composite_image.jpg").all()
    with pytest.raises(UserError, match="2 patient"):
        split_cohort(cohort)


def test_one_lung_field_reads_with_a_mask_of_its_size(shared_data, tmp_path):
    cohort = Cohort.load(shared_data / "inform_lung_fields").limited(1)
    (entry,) = cache_cohort(cohort, ["blue"], PercentileScaling(), tmp_path)
    assert entry.shape == entry.open_mask().shape == (1400, 1868)
    assert 0.05 < entry.open_mask().mean() < 0.6


def test_breast_field_has_cells_and_seven_channels_but_no_mask(shared_data, tmp_path):
    cohort = Cohort.load(shared_data / "csm_breast_7ch")
    assert cohort.layout == "inform" and list(cohort.table.field) == ["ABCM22001_B14"]
    assert cohort.table.cells[0].endswith("ABCM22001_B14_cell_seg_data.txt")
    assert [p.what for p in cohort.problems] == ["has no binary_seg_maps.tif next to it"]
    channels = ["DAPI", "PDL1", "GZMB", "PD1", "CK", "CD8", "FOXP3"]
    (entry,) = cache_cohort(cohort, channels, PercentileScaling(), tmp_path)
    pixels = entry.open_pixels()
    assert pixels.shape == (7, 500, 500) and np.isfinite(pixels).all() and entry.mask == ""
    with pytest.raises(UserError, match="no masks"):
        cohort.with_masks()


def test_lung_tiles_have_several_labels_and_a_split(shared_data):
    cohort = Cohort.load(shared_data / "tiles_Set4_1_multilabel")
    assert cohort.layout == "images" and len(cohort) == 266 and cohort.problems == []
    assert cohort.table.split.value_counts().to_dict() == {"train": 182, "test": 70, "ignore": 14}
    labels = cohort.table.labels.str.split(";")
    assert set(labels.explode()) - {""} == {"CK+", "CD8+", "CD68+", "FoxP3+", "other"}
    for label in ("CK+", "CD8+", "CD68+", "FoxP3+", "other"):
        has = cohort.table[f"count {label}"].astype(int) > 0
        assert (labels.map(lambda names, name=label: name in names) == has).all()


def test_validation_tiles_of_the_lung_are_taken_from_the_training_tiles(shared_data):
    done = split_cohort(Cohort.load(shared_data / "tiles_Set4_1_multilabel"), valid=0.2)
    assert done.table.split.value_counts().to_dict() == {"train": 146, "valid": 36, "test": 70, "ignore": 14}
