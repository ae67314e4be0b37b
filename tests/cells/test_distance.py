"""The normalised distance of nuclei to their rim."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from dedl_fastai.cells.distance import normalised_distance
from dedl_fastai.cells.watershed import instances


def two_squares() -> np.ndarray:
    """Two squares of 7 pixels that share a side."""
    labels = np.zeros((11, 18), np.int32)
    labels[2:9, 2:9], labels[2:9, 9:16] = 1, 2
    return labels


def test_one_in_the_middle_and_a_quarter_at_the_rim():
    distance = normalised_distance(two_squares())
    assert distance.dtype == np.float32 and distance[5, 5] == distance[5, 12] == 1
    assert distance[5, 8] == distance[5, 9] == distance[2, 5] == 0.25  # 1 of 4 pixels, also where the two touch
    assert not distance[two_squares() == 0].any()


def test_the_edge_of_the_image_is_no_rim():
    labels = np.zeros((10, 10), np.int32)
    labels[:, :4] = 7
    distance = normalised_distance(labels)
    assert distance[5].tolist() == pytest.approx([1, 0.75, 0.5, 0.25, *[0] * 6])


def test_an_image_within_a_nucleus_and_an_empty_one():
    assert (normalised_distance(np.full((4, 5), 3)) == 1).all()
    assert not normalised_distance(np.zeros((4, 5), np.int32)).any()


def test_scale_does_not_matter():
    small, large = two_squares(), np.kron(two_squares(), np.ones((5, 5), np.int32))
    middle = ndi.zoom(normalised_distance(large), 0.2, order=1)
    assert np.abs(middle - normalised_distance(small)).max() < 0.3


def test_a_perfect_distance_parts_what_a_mask_cannot():
    labels = two_squares()
    mask = (labels > 0).astype(float)
    assert instances(mask).max() == 1
    found = instances(mask, distance=normalised_distance(labels))
    np.testing.assert_array_equal(found, labels)


def test_h_decides_how_deep_the_dip_must_be():
    labels = two_squares()
    mask, distance = (labels > 0).astype(float), normalised_distance(labels)
    assert instances(mask, distance=distance, h=0.9).max() == 1


def test_a_plane_without_background_is_parted_too():
    labels = np.ones((20, 40), np.int32)
    labels[:, 20:] = 2
    rise = np.minimum(np.arange(20), 10)[None].repeat(20, 0) / 10
    assert instances(np.ones((20, 40)), distance=np.concatenate([rise[:, ::-1] * 0 + rise, rise], 1)).max() == 2
