"""Percentile scaling of one channel."""

import numpy as np
import pytest

from dedl_fastai.data import PercentileScaling
from dedl_fastai.errors import UserError


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.int32])
def test_result_is_float32_between_zero_and_one(dtype):
    plane = np.random.default_rng(0).uniform(0, 200, (40, 50)).astype(dtype)
    scaled = PercentileScaling()(plane)
    assert scaled.dtype == np.float32 and scaled.shape == (40, 50)
    assert scaled.min() == 0 and scaled.max() == 1


@pytest.mark.parametrize("seed", range(10))
def test_a_brighter_pixel_is_never_scaled_darker(seed):
    rng = np.random.default_rng(seed)
    plane = rng.lognormal(2, 2, (30, 30)).astype(np.float32) * 10.0 ** rng.integers(-3, 4)  # also far above 256
    order = plane.ravel().argsort()
    assert (np.diff(PercentileScaling()(plane).ravel()[order]) >= 0).all()


def test_percentiles_map_to_zero_and_one_exactly():
    plane = np.arange(101, dtype=np.float32).reshape(1, 101)  # value p is the p-th percentile
    scaled = PercentileScaling(10, 60)(plane)[0]
    assert (scaled[:11] == 0).all() and (scaled[60:] == 1).all()
    np.testing.assert_allclose(scaled[10:61], np.linspace(0, 1, 51), atol=1e-6)


def test_gain_and_offset_of_the_camera_cancel():
    plane = np.random.default_rng(1).uniform(0, 50, (32, 32)).astype(np.float32)
    np.testing.assert_allclose(PercentileScaling()(plane), PercentileScaling()(plane * 7 + 100), atol=1e-4)


@pytest.mark.parametrize("value", [0, 3.5, 1e6])
def test_constant_plane_becomes_zeros(value):
    scaled = PercentileScaling()(np.full((8, 8), value, np.float32))
    assert scaled.dtype == np.float32 and not scaled.any()


def test_a_single_bright_pixel_is_not_lost():
    plane = np.zeros((100, 100), np.float32)
    plane[3, 4] = 9
    scaled = PercentileScaling()(plane)
    assert scaled[3, 4] == 1 and scaled.sum() == 1


def test_scaling_does_not_change_the_plane_itself():
    plane = np.arange(20, dtype=np.uint16).reshape(4, 5)
    PercentileScaling()(plane)
    assert (plane == np.arange(20).reshape(4, 5)).all()


def test_settings_are_restored_from_their_dict():
    scaling = PercentileScaling(2.5, 97)
    assert scaling.to_dict() == {"kind": "percentile", "low": 2.5, "high": 97}
    assert PercentileScaling.from_dict(scaling.to_dict()) == scaling


def test_dict_of_another_kind_of_scaling_is_an_error():
    with pytest.raises(UserError, match="'zscore' is unknown"):
        PercentileScaling.from_dict({"kind": "zscore", "low": 1, "high": 2})


@pytest.mark.parametrize(("low", "high"), [(-1, 50), (50, 50), (60, 50), (0, 101), (float("nan"), 50)])
def test_percentiles_out_of_order_or_range_are_an_error(low, high):
    with pytest.raises(UserError, match="0 <= low < high <= 100"):
        PercentileScaling(low, high)
