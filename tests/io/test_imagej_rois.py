"""ImageJ ROI zips: polygons round-trip, the same input gives the same bytes, files are whole or absent."""

import sys
import zipfile

import numpy as np
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.io import cell_polygons, write_imagej_rois


@pytest.fixture
def labels():
    labels = np.zeros((40, 50), np.int32)
    labels[2:12, 3:20] = 1
    labels[12:30, 3:20] = 5
    labels[35, 45] = 6
    return labels


def test_rois_read_back_with_their_names_and_points(tmp_path, labels):
    roifile = pytest.importorskip("roifile", reason="roifile is not installed")
    assert write_imagej_rois(tmp_path / "a.zip", cell_polygons(labels)) == 3
    rois = roifile.roiread(tmp_path / "a.zip")
    assert [r.name for r in rois] == ["1", "5", "6"]
    assert {r.roitype for r in rois} == {roifile.ROI_TYPE.POLYGON}
    for roi, (_, points) in zip(rois, cell_polygons(labels), strict=True):
        np.testing.assert_allclose(roi.coordinates(), points[:-1, ::-1], atol=1e-3)


def test_same_cells_give_the_same_bytes(tmp_path, labels):
    pytest.importorskip("roifile", reason="roifile is not installed")
    for name in ("a.zip", "b.zip"):
        write_imagej_rois(tmp_path / name, cell_polygons(labels))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("far", [40_000.0, np.nan])
def test_coordinates_beyond_the_range_of_an_roi_are_a_user_error_and_leave_no_file(tmp_path, far):
    pytest.importorskip("roifile", reason="roifile is not installed")
    triangle = np.array([(0, 0), (0, 9), (9, 9)], float)
    with pytest.raises(UserError, match="use GeoJSON"):
        write_imagej_rois(tmp_path / "a.zip", [(1, triangle), (2, triangle + far)])
    assert list(tmp_path.iterdir()) == []


def test_another_ending_is_refused(tmp_path):
    pytest.importorskip("roifile", reason="roifile is not installed")
    with pytest.raises(UserError, match=r"\.zip"):
        write_imagej_rois(tmp_path / "a.roi", [])


def test_without_roifile_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(UserError, match=r"dedl-fastai\[imagej\]"):
        write_imagej_rois(tmp_path / "a.zip", [])
    assert list(tmp_path.iterdir()) == []
