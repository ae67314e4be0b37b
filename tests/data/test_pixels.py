"""Fields scaled by rows: equal to scaling the whole field, or nearly so if percentiles are of a sample."""

import numpy as np
import pytest

from dedl_fastai.data import PercentileScaling, pixels
from dedl_fastai.data.pixels import ScaledField, read_scaled
from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field
from dedl_fastai.io.ome_tiff import write_ome_tiff

SCALING = PercentileScaling()


def written(path, planes):
    names = ["DAPI", "CD4"][: len(planes)]
    write_ome_tiff(path, planes.astype(np.float32), channel_names=names, pixel_size_um=0.5, pyramid=False)
    return path


@pytest.fixture
def as_slide(monkeypatch):
    """Treat fields above 1000 pixels as slides: sample their pixels and read bands of 48 rows."""
    monkeypatch.setattr(pixels, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(pixels, "_BAND_ROWS", 48)
    monkeypatch.setattr(pixels, "_BLOCK", 8)


def tissue(shape, seed=0):
    """Return dark glass with tissue of two brightnesses on a third of it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    hills = np.sin(y / 90 + seed) + np.cos(x / 70)
    return (rng.gamma(2, 1, shape) * np.where(hills > 0.8, 20, np.where(hills > 0.2, 5, 1))).astype(np.float32)


def test_rows_of_a_small_field_are_those_of_the_whole(tmp_path):
    planes = np.stack([tissue((120, 90)), tissue((120, 90), 1)])
    path = written(tmp_path / "field.ome.tif", planes)
    expected = np.stack([SCALING(p) for p in planes])
    np.testing.assert_array_equal(read_scaled(path, ["DAPI", "CD4"], SCALING), expected)
    with open_field(path) as field:
        scaled = ScaledField(field, ["CD4", "DAPI"], SCALING)
        assert scaled.shape == (2, 120, 90)
        np.testing.assert_array_equal(scaled[:, 30:77], expected[::-1, 30:77])


@pytest.mark.parametrize("seed", range(3))
def test_percentiles_of_a_sampled_field_are_near_the_requested_ones(tmp_path, as_slide, seed):
    plane = tissue((1100, 900), seed)
    path = written(tmp_path / "slide.ome.tif", plane[None])
    scaled = read_scaled(path, ["DAPI"], SCALING)[0]
    assert 100 * (scaled == 0).mean() == pytest.approx(SCALING.low, abs=0.15)
    assert 100 * (scaled < 1).mean() == pytest.approx(SCALING.high, abs=0.15)
    order = plane.ravel().argsort()
    assert (np.diff(scaled.ravel()[order]) >= 0).all()


def test_rows_of_a_slide_are_decoded_once_from_top_to_bottom(tmp_path, as_slide, monkeypatch):
    path = written(tmp_path / "slide.ome.tif", tissue((300, 64))[None])
    with open_field(path) as field:
        scaled = ScaledField(field, ["DAPI"], SCALING)
        read, bands = field.read, []
        monkeypatch.setattr(field, "read", lambda c, y0, y1: bands.append((y0, y1)) or read(c, y0, y1))
        rows = np.concatenate([scaled[:, y : y + 25] for y in range(0, 300, 25)], axis=1)
    assert bands == [(y, min(y + 48, 300)) for y in range(0, 300, 48)]
    np.testing.assert_array_equal(rows, read_scaled(path, ["DAPI"], SCALING))


def test_pixel_between_the_sampled_blocks_is_not_lost(tmp_path, as_slide):
    plane = np.zeros((400, 400), np.float32)
    plane[5, 9] = 3  # block 0 of 50 is not among the 16 along an axis
    path = written(tmp_path / "slide.ome.tif", plane[None])
    assert read_scaled(path, ["DAPI"], SCALING).sum() == 1


def test_nan_anywhere_in_a_slide_is_an_error_and_a_constant_slide_a_warning(tmp_path, as_slide, caplog):
    plane = tissue((200, 200))
    plane[197, 3] = np.nan
    with pytest.raises(UserError, match="DAPI has 1 NaN"):
        read_scaled(written(tmp_path / "hole.ome.tif", plane[None]), ["DAPI"], SCALING)
    assert not read_scaled(written(tmp_path / "flat.ome.tif", np.full((1, 200, 200), 7.0)), ["DAPI"], SCALING).any()
    assert "constant (7 everywhere)" in caplog.text
