"""The synthetic cohort: files, determinism, and a difficulty between trivial and impossible to segment."""

import numpy as np
import pandas as pd
import pytest
from skimage.draw import polygon
from skimage.filters import threshold_otsu
from skimage.morphology import dilation, disk
from skimage.segmentation import expand_labels

from dedl_fastai.data import FULL_SIZE, demo_cohort
from dedl_fastai.data.demo.cells import scatter_cells
from dedl_fastai.data.demo.difficulty import DIFFICULTIES, draw_flaws
from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, read_cell_table, read_mask, read_outlines
from dedl_fastai.io.masks import holds_ids, read_labels
from dedl_fastai.phenotypes import Rules


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Fourteen fields of 128 x 128 pixels of seven patients. Do not write into this folder."""
    return demo_cohort(tmp_path_factory.mktemp("demo") / "cohort", fields=14, size=(128, 128), seed=2)


@pytest.fixture(scope="module")
def measured(cohort):
    """Measured cells of all fields."""
    return pd.concat([read_cell_table(c) for c in cohort.table.cells], ignore_index=True)


def files(folder):
    """Return {relative name: bytes} of every file in the folder and its subfolders."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_files_are_the_same_for_one_seed_and_differ_between_seeds(tmp_path):
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        demo_cohort(tmp_path / name, fields=2, patients=2, size=(64, 80), seed=seed)
    one, two, three = (files(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two and len(one) == 8
    assert one.keys() == three.keys() and all(one[n] != three[n] for n in one)


def test_a_larger_cohort_begins_with_the_fields_of_a_smaller_one(tmp_path):
    for name, n in (("small", 3), ("large", 5)):
        demo_cohort(tmp_path / name, fields=n, patients=2, size=(64, 64), seed=0)
    small, large = files(tmp_path / "small"), files(tmp_path / "large")
    assert len(small) == 12 and len(large) == 20 and small.items() <= large.items()


def test_no_two_fields_are_equal(cohort):
    means = [open_field(i).read("DAPI").mean() for i in cohort.table.image]
    assert len(set(means)) == len(cohort) == 14


def test_fields_are_of_the_papers_seven_patients_in_turn(cohort):
    papers = {"Myo089", "Myo253", "Myo368", "Myo208", "Myo388", "Myo231", "Myo511"}
    assert cohort.table.patient.value_counts().to_dict() == dict.fromkeys(papers, 2)


def test_further_patients_get_invented_names(tmp_path):
    cohort = demo_cohort(tmp_path / "nine", fields=9, patients=9, size=(64, 64))
    assert cohort.table.patient.nunique() == 9 and cohort.table.patient.str.fullmatch(r"Myo\d+").all()


def test_fields_are_component_files_with_eight_named_channels(cohort):
    assert cohort.layout == "van-buren" and cohort.problems == []
    with open_field(cohort.table.image[0]) as field:
        assert [c.split(" ")[0] for c in field.channels] == [
            "DAPI",
            "CXCR3",
            "CD19",
            "CXCR5",
            "PD1",
            "CD4",
            "CD27",
            "Autofluorescence",
        ]
        assert field.shape == (128, 128) and field.pixel_size_um == pytest.approx(0.4971, rel=1e-3)
        assert field.slide_id in cohort.table.field[0] and None not in field.colors


@pytest.mark.parametrize("size", [(64, 100), (90, 66)])
def test_fields_have_the_given_size_and_thumbnails_a_quarter_of_it(tmp_path, size):
    row = demo_cohort(tmp_path / "c", fields=1, patients=1, size=size).table.iloc[0]
    with open_field(row.image) as field:
        thumbnail = field.thumbnail()
        assert field.shape == size
    assert thumbnail.shape == (size[0] // 4, size[1] // 4, 3) and thumbnail.dtype == np.uint8 and thumbnail.any()
    assert read_mask(row["mask"]).shape == size


def test_full_size_is_the_papers():
    assert FULL_SIZE == (1408, 1876)


def test_mask_is_the_filled_outlines_of_the_measured_cells(cohort):
    for row in cohort.table.itertuples():
        outlines, mask = read_outlines(row.outlines), read_mask(row.mask)
        assert len(outlines) == len(read_cell_table(row.cells))
        filled = np.zeros_like(mask)
        for points in outlines.values():
            assert points.shape == (32, 2)
            filled[polygon(*points.T.copy(), mask.shape)] = 1
        assert (filled != mask).mean() < 0.002  # the tables round to 1/1000 pixel
        assert 0.01 < mask.mean() < 0.7


def test_a_threshold_finds_nuclei_but_segments_them_poorly(cohort):
    overlaps = []
    for row in cohort.table.itertuples():
        dapi, mask = open_field(row.image).read("DAPI"), read_mask(row.mask) > 0
        is_bright = dapi > threshold_otsu(dapi)
        overlaps.append((is_bright & mask).sum() / (is_bright | mask).sum())
    assert max(overlaps) < 0.85 and np.mean(overlaps) > 0.2


def test_measured_markers_are_zero_or_one_and_every_class_occurs(measured):
    rules = Rules.load("tfh5")
    markers = [m.lower() for m in rules.markers]
    assert measured[[*markers, "cd27"]].isin([0, 1]).all(axis=None)
    assert set(rules.classify(measured[markers].astype(bool))) == {"b", "tfh", "tfh217", "tfhl", "other"}


@pytest.mark.parametrize(
    ("one", "other", "together"), [("cxcr5", "pd1", True), ("cd4", "pd1", True), ("cd19", "cd4", False)]
)
def test_markers_occur_together_as_in_the_rules(measured, one, other, together):
    a, b = measured[one].astype(bool), measured[other].astype(bool)
    lift = (a & b).mean() / (a.mean() * b.mean())
    assert lift > 1.5 if together else lift < 0.5


def test_positive_cells_are_brighter_in_their_channel(cohort):
    levels = {True: [], False: []}
    for row in cohort.table.itertuples():
        plane, shape = open_field(row.image).read("CD4"), (128, 128)
        positive = read_cell_table(row.cells).cd4.astype(bool)
        for is_positive, points in zip(positive, read_outlines(row.outlines).values(), strict=True):
            inside = polygon(*points.T.copy(), shape)
            levels[is_positive].append(plane[inside].mean())
    assert np.median(levels[True]) > 1.5 * np.median(levels[False])


def test_folder_that_is_not_empty_is_an_error_and_stays_unchanged(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is not empty: choose a new folder"):
        demo_cohort(tmp_path)
    assert files(tmp_path) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": 2, "patients": 3}, "2 fields for 3 patients"),
        ({"fields": 2, "patients": 0}, "at least one field"),
        ({"size": (32, 640)}, "at least 64x64"),
    ],
)
def test_impossible_sizes_are_errors_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        demo_cohort(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_the_hard_cohort_has_the_same_nuclei_and_channels_that_spill_over(cohort, tmp_path):
    hard = demo_cohort(tmp_path / "hard", fields=14, size=(128, 128), seed=2, difficulty="hard")
    assert files(hard.root).keys() == files(cohort.root).keys()
    assert all(
        len(read_cell_table(a)) == len(read_cell_table(b))
        for a, b in zip(cohort.table.cells, hard.table.cells, strict=True)
    )

    def correlation(of):
        planes = [open_field(i).read(c).ravel() for i in of.table.image for c in ("CD4", "CD27")]
        return np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(planes[::2], planes[1::2], strict=True)])

    assert correlation(hard) > correlation(cohort) + 0.1


def test_the_flaws_of_the_hard_cohort_are_in_their_shares():
    rng = np.random.default_rng(0)
    cells = scatter_cells(rng, (1000, 1000), 0.5, Rules.load("tfh5"))
    drawn, flaws = draw_flaws(cells, DIFFICULTIES["hard"], np.random.default_rng(1), np.random.default_rng(2))
    bright = flaws.autofluorescence > 0
    assert 0.01 < bright.mean() < 0.06 and not drawn.positive[bright].any(axis=None)
    assert (cells.classes[bright] == "other").all()
    dim = (flaws.strength < 1).to_numpy()
    assert dim.sum() / cells.positive.to_numpy().sum() == pytest.approx(0.3, abs=0.04)
    assert not dim[~cells.positive.to_numpy()].any() and len(set(flaws.gains.values())) == len(flaws.gains)
    assert draw_flaws(cells, DIFFICULTIES["easy"], rng, rng) == (cells, None)


def test_an_unknown_difficulty_is_refused(tmp_path):
    with pytest.raises(UserError, match="difficulty='medium'"):
        demo_cohort(tmp_path / "d", difficulty="medium")


def test_nuclei_of_the_packed_cohort_touch_and_masks_hold_their_ids(cohort, tmp_path):
    packed = demo_cohort(tmp_path / "packed", fields=3, patients=3, size=(128, 128), seed=2, difficulty="packed")
    for mask, usual in zip(packed.table["mask"], cohort.table["mask"], strict=False):
        ids, loose = read_labels(mask), read_labels(usual)
        assert holds_ids(mask, ids) and not holds_ids(usual, loose)
        assert (ids > 0).mean() > 1.5 * (loose > 0).mean()
        grown = expand_labels(ids, 1)
        touches = [len(np.unique(grown[dilation(ids == i, disk(2))])) > 2 for i in np.unique(ids)[1:]]
        assert np.mean(touches) > 0.6
