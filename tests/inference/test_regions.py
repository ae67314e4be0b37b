"""Means of the regions of a field: equal to those of the whole plane, however it is cut into chunks."""

from itertools import pairwise

import numpy as np
import pytest

from dedl_fastai.inference.chunks import chunk_rows
from dedl_fastai.inference.regions import RegionMeans, region_edges


@pytest.mark.parametrize(
    ("length", "edges"), [(1, [0, 1]), (300, [0, 300]), (600, [0, 300, 600]), (1400, [0, 280, 560, 840, 1120, 1400])]
)
def test_regions_have_equal_edges_of_about_256_pixels(length, edges):
    np.testing.assert_allclose(region_edges(length), edges, atol=1)


@pytest.mark.parametrize("edge", [100, 256, 300, 2048])
def test_the_means_do_not_depend_on_the_chunks(edge):
    plane = np.random.default_rng(0).random((700, 530)).astype(np.float32)
    means = RegionMeans(plane.shape)
    for row in chunk_rows(plane.shape, edge):
        for box in row:
            means.add(plane[box.slices()], box)
    y, x = (list(pairwise(region_edges(length))) for length in plane.shape)
    expected = [[plane[a:b, c:d].mean() for c, d in x] for a, b in y]
    np.testing.assert_allclose(means.means, expected, rtol=1e-5)
    assert means.means.shape == (3, 2) and means.mean == pytest.approx(plane.mean(), rel=1e-5)
