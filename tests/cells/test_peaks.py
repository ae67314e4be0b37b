"""h-maxima from the graph of hills are those of grey reconstruction, on noise, plateaus and distances to a border."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction

from dedl_fastai.cells.peaks import h_maxima

PLANES = {
    "smooth": lambda rng: 4 * ndimage.gaussian_filter(rng.random((37, 41)), 1.5),
    "noise": lambda rng: rng.random((37, 41)),
    "plateaus": lambda rng: np.round(4 * rng.random((37, 41))) / 4,
    "distance": lambda rng: ndimage.distance_transform_edt(rng.random((37, 41)) > 0.05),
    "one row": lambda rng: np.round(9 * rng.random((1, 60))) / 9,
}


@pytest.mark.parametrize("h", [0.0, 0.05, 0.25, 0.5])
@pytest.mark.parametrize("name", PLANES)
def test_they_are_the_maxima_of_the_reconstruction(name, h):
    rng = np.random.default_rng(0)
    for _ in range(5):
        plane = PLANES[name](rng).astype(np.float32)
        expected = local_maxima(reconstruction(plane - np.float32(h), plane), connectivity=2)
        np.testing.assert_array_equal(h_maxima(plane, h), expected)


def test_a_shallow_dip_does_not_separate_two_tops():
    plane = np.array([[0, 3, 2.5, 2.9, 0]], np.float32)
    assert h_maxima(plane, 0.3).tolist() == [[False, True, False, True, False]]
    assert h_maxima(plane, 0.5).tolist() == [[False, True, True, True, False]]


def test_a_plane_without_hills_is_one_plateau():
    assert h_maxima(np.ones((4, 5), np.float32), 0.1).all()
