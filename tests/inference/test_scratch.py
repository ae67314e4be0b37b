"""Planes in memory and on disk, and the buffer of rows of a plane."""

import numpy as np
import pytest
import zarr

from dedl_fastai.errors import UserError
from dedl_fastai.inference import scratch as scratch_module
from dedl_fastai.inference.rolling_rows import RollingRows
from dedl_fastai.inference.scratch import Computed, Scratch


def test_small_planes_are_arrays_and_need_no_folder(tmp_path):
    with Scratch(tmp_path) as scratch:
        plane = scratch.plane("labels", (30, 40), np.int32)
        assert isinstance(plane, np.ndarray) and plane.dtype == np.int32 and not plane.any()
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_large_planes_are_on_disk_until_the_end(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(scratch_module, "IN_MEMORY_PIXELS", 100)
    with Scratch(tmp_path) as scratch:
        plane = scratch.plane("labels", (700, 40), dtype)
        assert isinstance(plane, zarr.Array) and plane.shape == (700, 40) and plane.dtype == dtype
        assert not plane[:, :].any()
        plane[500:600, 3:9] = np.full((100, 6), 7, dtype)
        assert plane[:, :].sum() == 4200 and plane[512, 4] == 7
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_folder_is_removed_after_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch_module, "IN_MEMORY_PIXELS", 100)
    with pytest.raises(ZeroDivisionError), Scratch(tmp_path / "new") as scratch:
        scratch.plane("labels", (70, 40), np.int32)
        raise ZeroDivisionError
    assert not list((tmp_path / "new").iterdir())


def test_folder_that_cannot_be_created_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch_module, "IN_MEMORY_PIXELS", 100)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"), Scratch(tmp_path / "file") as scratch:
        scratch.plane("labels", (70, 40), np.int32)


def test_computed_plane_applies_its_function_to_the_slice():
    plane = Computed(np.arange(12).reshape(3, 4), lambda a: a * 0.5, np.float32)
    assert plane.shape == (3, 4) and plane.dtype == np.float32
    np.testing.assert_array_equal(plane[1:2, 2:4], [[3, 3.5]])


def test_rows_keep_their_index_when_others_are_added_and_dropped():
    rows = RollingRows((2,), 3)
    whole = np.random.default_rng(0).random((2, 100, 3), dtype=np.float32)
    for bottom, top in ((10, 0), (11, 4), (40, 30), (41, 41), (90, 50)):
        rows.append(whole[:, rows.bottom : bottom])
        np.testing.assert_array_equal(rows[rows.top : bottom], whole[:, rows.top : bottom])
        rows.drop(top)
        assert (rows.top, rows.bottom) == (top, bottom)
        np.testing.assert_array_equal(rows[top:bottom], whole[:, top:bottom])


def test_new_rows_are_zero_in_reused_memory():
    rows = RollingRows((), 2)
    rows.append(np.ones((8, 2)))
    rows.drop(6)
    rows.extend(12)
    np.testing.assert_array_equal(rows[6:12].sum(axis=1), [2, 2, 0, 0, 0, 0])
    rows[8:9] += 5
    assert rows[6:12].sum() == 14


def test_dropped_and_missing_rows_are_an_error():
    rows = RollingRows((), 2)
    rows.extend(8)
    rows.drop(3)
    for y0, y1 in ((2, 5), (5, 9)):
        with pytest.raises(IndexError, match="3:8"):
            rows[y0:y1]
