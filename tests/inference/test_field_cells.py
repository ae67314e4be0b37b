"""`predict_field`: chunks give the result of the whole field, also at their borders; planes and files are released."""

import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import ndimage as ndi

from dedl_fastai.cells.measure import measure_cells
from dedl_fastai.cells.options import NucleiOptions
from dedl_fastai.cells.watershed import instances
from dedl_fastai.errors import UserError
from dedl_fastai.inference import finder, scratch
from dedl_fastai.inference.field_cells import predict_field
from dedl_fastai.io import open_field

from .fields import bright_ensemble, disc, nuclei_plane, write_field

EDGE = 192  # of the chunks in these tests, which have a halo of 128 pixels
SHAPE = (450, 500)
CORNERS = [(y, x) for y in (0, 192, 384, 449) for x in (0, 192, 384, 499)]


@pytest.fixture
def in_chunks(monkeypatch):
    """Treat fields above 100 pixels as slides."""
    monkeypatch.setattr(finder, "AT_ONCE_PIXELS", 100)
    monkeypatch.setattr(finder, "CHUNK", EDGE)
    monkeypatch.setattr(scratch, "IN_MEMORY_PIXELS", 100)
    monkeypatch.setattr(scratch, "CHUNK", 256)


def scattered(seed: int) -> np.ndarray:
    """Nuclei, some at corners of chunks, in components smaller than the halo; and a second channel of noise."""
    rng = np.random.default_rng(seed)
    return np.stack([nuclei_plane(SHAPE, seed, 0.6, CORNERS), rng.random(SHAPE, dtype=np.float32) * 100])


def matched(labels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Check that both label images have the same objects; returns the id in `other` of each object of `labels`."""
    pairs = np.unique(np.stack([labels.ravel(), other.ravel()]), axis=1)
    assert pairs.shape[1] == labels.max() + 1 == other.max() + 1
    assert pairs[:, 0].tolist() == [0, 0] and len(set(pairs[1])) == pairs.shape[1]
    return pairs[1, 1:]


def at_once(path, ensemble, **options):
    """Probability, labels and cells from the functions for whole fields."""
    probability = ensemble.mean_and_sd(path)
    with open_field(path) as field:
        labels = instances(probability.mean, ensemble.threshold, field.pixel_size_um, **options)
        cells = measure_cells(labels, field, probability=probability.mean, uncertainty=probability.entropy)
    return probability, labels, cells


@pytest.mark.parametrize("seed", range(4))
def test_chunks_give_the_objects_and_measurements_of_the_whole_field(tmp_path, seed, in_chunks):
    path, ensemble = write_field(tmp_path / "slide.ome.tif", scattered(seed)), bright_ensemble()
    probability, labels, cells = at_once(path, ensemble)
    sizes = [s for part in ndi.find_objects(ndi.label(labels > 0)[0]) for s in part]
    assert max(s.stop - s.start for s in sizes) < 128  # smaller than the halo, so the results must be equal
    with predict_field(ensemble, path) as predicted:
        assert isinstance(predicted.labels, zarr.Array) and predicted.labels.dtype == np.int32
        ids = matched(labels, predicted.labels[:, :])
        np.testing.assert_array_equal(predicted.probability[:, :], probability.mean)
        np.testing.assert_array_equal(predicted.uncertainty[:50, :], probability.entropy[:50])
        assert predicted.field_uncertainty == pytest.approx(probability.uncertainty, rel=1e-6)
        assert (predicted.cells["label"] == np.arange(1, len(cells) + 1)).all()
        expected = cells.assign(label=ids.astype(np.int64)).sort_values("label", ignore_index=True)
        pd.testing.assert_frame_equal(predicted.cells, expected, rtol=1e-6)
        assert predicted.cells["touches_border"].sum() > 10


def test_small_field_is_labelled_at_once_in_raster_order(tmp_path):
    path, ensemble = write_field(tmp_path / "field.ome.tif", scattered(5)), bright_ensemble(10.0, 4.0)
    probability, labels, cells = at_once(path, ensemble)
    with predict_field(ensemble, path, keep=("sd", "uncertainty")) as predicted:
        np.testing.assert_array_equal(predicted.labels, labels)
        np.testing.assert_array_equal(predicted.sd, probability.sd)
        np.testing.assert_array_equal(predicted.uncertainty, probability.entropy)
        assert predicted.probability is None
        pd.testing.assert_frame_equal(predicted.cells, cells, rtol=1e-6)


def test_options_of_nuclei_apply_in_chunks(tmp_path, in_chunks):
    path, ensemble = write_field(tmp_path / "slide.ome.tif", scattered(6)), bright_ensemble()
    options = {"min_area_um2": 30.0, "max_hole_um2": 0.0, "h_px": 2.0}
    _, labels, _ = at_once(path, ensemble, **options)
    with predict_field(ensemble, path, nuclei=NucleiOptions(**options)) as predicted:
        assert len(matched(labels, predicted.labels[:, :])) > 0


def test_separation_by_intensity_equals_that_of_the_whole_field(tmp_path, in_chunks):
    planes = scattered(7)
    planes[0] += 0.1 * np.random.default_rng(7).random(SHAPE, dtype=np.float32)
    path, ensemble = write_field(tmp_path / "slide.ome.tif", planes), bright_ensemble()
    _, labels, _ = at_once(path, ensemble, intensity=planes[0])
    with predict_field(ensemble, path, nuclei=NucleiOptions(part_by="intensity")) as predicted:
        assert len(matched(labels, predicted.labels[:, :])) > 0
        assert not np.array_equal(np.asarray(labels), at_once(path, ensemble)[1])  # or the test would be trivial


@pytest.mark.parametrize("centre", [(192, 192), (300, 350), (0, 0), (449, 290)])
@pytest.mark.parametrize("radius", [70, 150, 200, 1000])
def test_object_larger_than_the_halo_is_complete_and_not_counted_twice(tmp_path, centre, radius, in_chunks):
    plane = np.full((1, *SHAPE), 0.1, np.float32)
    disc(plane[0], *centre, radius, 0.9)
    path = write_field(tmp_path / "slide.ome.tif", np.concatenate([plane, plane]))
    with predict_field(bright_ensemble(), path) as predicted:
        labels = predicted.labels[:, :]
        if radius < 1000:
            np.testing.assert_array_equal(labels > 0, plane[0] > 0.5)
        assert predicted.cells["area_px"].sum() == (labels > 0).sum()
        assert (np.bincount(labels.ravel())[1:] == predicted.cells["area_px"]).all()
        assert labels.max() <= 12  # at most one per chunk
        assert predicted.cells["probability"].between(0, 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_packed_tissue_has_the_same_mask_and_nearly_the_same_nuclei(tmp_path, seed, in_chunks):
    planes = nuclei_plane(SHAPE, seed, 10, CORNERS)[None]
    path, ensemble = write_field(tmp_path / "slide.ome.tif", planes), bright_ensemble()
    _, labels, _ = at_once(path, ensemble)
    sizes = [s.stop - s.start for part in ndi.find_objects(ndi.label(labels > 0)[0]) for s in part]
    assert max(sizes) > 300  # one component spans many chunks
    with predict_field(ensemble, path) as predicted:
        got = predicted.labels[:, :]
    # which objects are too small to keep may depend on where chunks begin
    assert ((got > 0) != (labels > 0)).sum() < 40
    assert got.max() == pytest.approx(labels.max(), rel=0.02)
    same = {frozenset(np.flatnonzero(labels == i)) for i in range(1, labels.max() + 1)}
    same &= {frozenset(np.flatnonzero(got == i)) for i in range(1, got.max() + 1)}
    assert len(same) > 0.95 * labels.max()


def test_field_without_nuclei_gives_an_empty_table_with_all_columns(tmp_path, in_chunks):
    empty = write_field(tmp_path / "empty.ome.tif", np.random.default_rng(0).random((2, 250, 300)) * 0.01)
    full = write_field(tmp_path / "full.ome.tif", scattered(0))
    ensemble = bright_ensemble(mean=[2.0])
    with predict_field(ensemble, empty) as predicted:
        assert not predicted.labels[:, :].any() and len(predicted.cells) == 0
        assert predicted.cells.columns.equals(bright_ensemble().cells(full).columns)


def test_progress_rises_to_1_and_bands_come_before_the_end(tmp_path, in_chunks):
    path, seen = write_field(tmp_path / "slide.ome.tif", scattered(0)), []
    predict_field(bright_ensemble(), path, progress=seen.append).close()
    assert seen == sorted(seen) and seen[-1] == 1 and len(seen) > 10


def test_scratch_is_removed_at_the_end_and_after_an_error(tmp_path, in_chunks):
    planes = scattered(0)
    path, scratch = write_field(tmp_path / "slide.ome.tif", planes), tmp_path / "scratch"
    with predict_field(bright_ensemble(), path, scratch=scratch, keep=("sd",)) as predicted:
        assert len(list(scratch.iterdir())) == 1 and not predicted.sd[:, :].any()
    assert not list(scratch.iterdir())
    planes[0, 440, 5] = np.inf
    write_field(path, planes)
    with pytest.raises(UserError, match="infinite"):
        predict_field(bright_ensemble(), path, scratch=scratch)
    assert not list(scratch.iterdir())


def test_open_field_stays_open_and_a_file_is_closed(tmp_path):
    path = write_field(tmp_path / "field.ome.tif", scattered(0)[:, :100, :100])
    with open_field(path) as field:
        predict_field(bright_ensemble(), field).close()
        assert field._tif is not None
    predicted = predict_field(bright_ensemble(), path)
    predicted.close()
    assert predicted.field._tif is None


def test_channels_can_have_other_names(tmp_path):
    path = write_field(tmp_path / "field.ome.tif", scattered(0)[::-1, :100, :120])
    with predict_field(bright_ensemble(), path, channels=["CD4"]) as predicted:
        assert len(predicted.cells) == 5  # the discs; the other channel is noise


def test_unknown_planes_and_options_are_refused(tmp_path):
    path = write_field(tmp_path / "field.ome.tif", scattered(0)[:, :100, :100])
    with pytest.raises(UserError, match="'mask'"):
        predict_field(bright_ensemble(), path, keep=("mask",))
    with pytest.raises(UserError, match="'colour'"):
        NucleiOptions(part_by="colour")
    with pytest.raises(UserError, match="below 0"):
        NucleiOptions(min_area_um2=-1)
