"""`instances`: touching nuclei are separated, holes filled, ids in raster order; empty, full and thin masks work."""

import numpy as np
import pytest

from dedl_fastai.cells.watershed import fill_holes, in_raster_order, instances, touches_border
from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, read_labels, read_mask, read_outlines, read_segmentation_maps
from dedl_fastai.scores.object_matches import count_matches, match, pool_matches


def disc(shape, y, x, r):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= r**2


@pytest.fixture
def two_touching():
    return (disc((40, 60), 20, 20, 9) | disc((40, 60), 20, 36, 9)).astype(np.float32)


def test_touching_discs_become_two_objects_that_cover_the_mask(two_touching):
    labels = instances(two_touching)
    assert labels.dtype == np.int32
    assert labels.max() == 2
    np.testing.assert_array_equal(labels > 0, two_touching > 0)
    assert abs((labels == 1).sum() - (labels == 2).sum()) < 12


def test_a_large_h_does_not_separate_them(two_touching):
    assert instances(two_touching, h_px=8).max() == 1


def test_the_threshold_itself_is_foreground():
    probability = np.where(disc((20, 20), 10, 10, 5), 0.3, 0.1)
    assert instances(probability, 0.3).max() == 1
    assert instances(probability, 0.31).max() == 0


def test_an_intensity_dip_separates_nuclei_that_the_outline_does_not():
    block = np.zeros((30, 60), np.float32)
    block[8:22, 10:50] = 1
    rows, columns = np.ogrid[:30, :60]
    nuclei = sum(np.exp(-((rows - 15) ** 2 + (columns - x) ** 2) / 40) for x in (20, 40))
    assert instances(block).max() == 1
    labels = instances(block, intensity=nuclei)
    assert labels.max() == 2
    np.testing.assert_array_equal(labels > 0, block > 0)
    assert (instances(block, intensity=np.zeros_like(block)) > 0).sum() == block.sum()


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_empty_map_has_no_objects(value):
    labels = instances(np.full((17, 23), value, np.float32))
    assert labels.shape == (17, 23) and labels.dtype == np.int32 and not labels.any()


def test_a_full_map_is_one_object():
    np.testing.assert_array_equal(instances(np.ones((17, 23))), np.ones((17, 23)))


def test_thin_objects_are_kept_whatever_h():
    line = np.zeros((9, 40))
    line[4, 2:38] = 1
    assert (instances(line, min_area_um2=5, h_px=3) > 0).sum() == 36


def test_small_objects_are_dropped_by_area_in_um2():
    mask = disc((40, 60), 20, 15, 3) | disc((40, 60), 20, 40, 8)  # 29 and 197 pixels
    assert instances(mask.astype(float)).max() == 2
    assert instances(mask.astype(float), pixel_size_um=0.5).max() == 1  # 7.25 um2
    assert instances(mask.astype(float), pixel_size_um=0.5, min_area_um2=7).max() == 2


def test_a_small_hole_is_filled_and_a_large_one_is_not():
    mask = disc((60, 60), 30, 30, 25)
    mask[29:30, 29:31] = False
    assert instances(mask.astype(float))[29, 29] == 1
    mask &= ~disc((60, 60), 30, 30, 12)
    assert instances(mask.astype(float))[30, 30] == 0


def test_a_gap_at_the_edge_is_not_a_hole():
    mask = np.ones((10, 10), bool)
    mask[0, 4] = mask[5, 5] = False
    filled = fill_holes(mask, 4)
    assert not filled[0, 4] and filled[5, 5]


def test_ids_follow_the_order_of_the_first_pixels():
    labels = np.zeros((6, 8), np.int64)
    labels[0, 6], labels[2, 1], labels[4, 3] = 70, 5, 9
    ordered = in_raster_order(labels)
    assert (ordered[0, 6], ordered[2, 1], ordered[4, 3]) == (1, 2, 3)
    assert ordered.dtype == np.int32


def test_the_same_map_gives_the_same_labels(rng_field):
    np.testing.assert_array_equal(instances(rng_field), instances(rng_field.copy()))
    ids = np.unique(instances(rng_field))
    np.testing.assert_array_equal(ids, np.arange(len(ids)))


@pytest.fixture
def rng_field():
    rng = np.random.default_rng(0)
    field = np.zeros((200, 240), bool)
    for y, x, r in zip(rng.uniform(0, 200, 60), rng.uniform(0, 240, 60), rng.uniform(4, 9, 60), strict=True):
        field |= disc(field.shape, y, x, r)
    return field.astype(np.float32)


def test_objects_on_each_edge_touch_the_border():
    labels = np.zeros((20, 20), np.int32)
    labels[0, 5], labels[19, 5], labels[5, 0], labels[8, 19], labels[10, 10] = 3, 4, 9, 7, 5
    assert touches_border(labels).tolist() == [3, 4, 7, 9]
    assert touches_border(np.zeros((4, 4), int)).tolist() == []


def test_maps_with_channels_or_of_different_shapes_are_refused():
    with pytest.raises(UserError, match="shape"):
        instances(np.zeros((2, 10, 10)))
    with pytest.raises(UserError, match="shape"):
        instances(np.zeros((10, 10)), intensity=np.zeros((10, 11)))


def test_true_masks_of_the_demo_cohort_separate_into_its_cells(tiny_cohort):
    found = drawn = 0
    for row in tiny_cohort.table.itertuples():
        mask = read_mask(row.mask)
        outlines = read_outlines(row.outlines).values()
        centres = [np.round(o.mean(axis=0)).astype(int) for o in outlines]
        drawn += sum(bool(np.all((c >= 0) & (c < mask.shape))) for c in centres)
        found += instances(mask.astype(float), min_area_um2=20).max()
    assert drawn > 60
    assert found == pytest.approx(drawn, rel=0.08)


def test_binarised_human_masks_separate_into_the_same_nuclei(shared_data):
    files = sorted((shared_data / "dsb2018_fluo" / "masks").iterdir())[::12]
    truth = [read_labels(f) for f in files]
    total = pool_matches(count_matches(instances((t > 0).astype(float)), t, (0.5, 0.7)) for t in truth)
    assert total[0.5].tp > 400
    assert total[0.5].scores()["ap"] > 0.85
    assert total[0.7].scores()["ap"] > 0.75


def test_binarised_inform_masks_separate_into_most_nuclei(shared_data):
    file = shared_data / "inform_lung_fields" / "Set4_1-6plex_[15206,60541]_binary_seg_maps.tif"
    truth = read_segmentation_maps(file)["nucleus"]
    scores = match(instances((truth > 0).astype(float), pixel_size_um=0.5), truth)
    assert scores["f1"] > 0.65  # they are packed: the mask alone cannot separate them all
    assert scores["mean_matched_iou"] > 0.85


def test_dapi_separates_more_of_the_packed_inform_nuclei(shared_data):
    base = shared_data / "inform_FIHC4" / "FIHC4__0929309_HP_IM3_2"
    truth = read_segmentation_maps(f"{base}_binary_seg_maps.tif")["nucleus"]
    with open_field(f"{base}_component_data.tif") as field:
        dapi, size = field.read("DAPI"), field.pixel_size_um
    mask = (truth > 0).astype(float)
    plain, with_dapi = (match(instances(mask, pixel_size_um=size, intensity=i), truth)["f1"] for i in (None, dapi))
    assert with_dapi > 0.45 > plain
