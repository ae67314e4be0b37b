"""Rings of all objects at once, compared with scikit-image's contours, taken one object after another."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import polygon as draw_polygon
from skimage.measure import find_contours

from dedl_fastai.io import cell_polygons
from dedl_fastai.io.rings import overlaps, traced


@pytest.fixture
def labels(rng):
    """Ragged touching objects with holes, corners that touch, single pixels, and labels in several pieces."""
    plane = ndimage.gaussian_filter(rng.normal(size=(90, 110)), 2)
    cells = ndimage.label(plane > 0)[0] + 100 * (np.indices(plane.shape) // 12).sum(axis=0)
    return np.where((plane > 0) & (rng.random(plane.shape) > 0.05), cells, 0).astype(np.int32)


def from_first(ring):
    """A ring, however it is turned, from its first point in raster order; closed rings repeat their first point."""
    ring = ring[:-1]
    return np.roll(ring, -np.lexsort((ring[:, 1], ring[:, 0]))[0], axis=0)


def simplified(ring, tolerance):
    points = ring[:-1]
    while len(points) > 4:
        before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
        chord, step = after - before, points - before
        distance = np.abs(chord[:, 0] * step[:, 1] - chord[:, 1] * step[:, 0])
        distance /= np.maximum(np.hypot(chord[:, 0], chord[:, 1]), 1e-9)
        removed = (distance <= tolerance) & (distance <= np.roll(distance, 1)) & (distance < np.roll(distance, -1))
        if not removed.any():
            break
        points = points[~removed]
    return np.concatenate([points, points[:1]])


def iou(mask, ring):
    rows, columns = draw_polygon(ring[:, 0] - 0.5, ring[:, 1] - 0.5, mask.shape)
    both = mask[rows, columns].sum()
    return both / (mask.sum() + len(rows) - both)


def plain_outline(mask, simplify):
    rings = find_contours(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="high")
    areas = [abs(np.sum(r[:-1, 0] * r[1:, 1] - r[:-1, 1] * r[1:, 0])) for r in rings]
    ring = simplified(rings[int(np.argmax(np.round(areas, 6)))] - 0.5, 0.0)
    while simplify > 0.1:
        fewer = simplified(ring, simplify)
        if iou(mask, fewer) > 0.985:
            return fewer
        simplify /= 2
    return ring


@pytest.mark.parametrize("simplify", [0, 0.5, 2])
def test_outlines_are_those_of_contours_taken_one_by_one(labels, simplify):
    outlines = dict(cell_polygons(labels, simplify))
    assert list(outlines) == np.unique(labels)[1:].tolist()
    for label, outline in outlines.items():
        pieces, n = ndimage.label(labels == label, np.ones((3, 3)))
        if n == 1:  # of pieces with the same area, either may be taken
            np.testing.assert_array_equal(from_first(outline), from_first(plain_outline(pieces == 1, simplify)))


def test_rings_go_around_every_piece_and_every_hole(labels):
    rings = traced(labels, np.unique(labels)[1:])
    expected = sum(
        len(find_contours(np.pad(labels == n, 1), 0.5, fully_connected="high")) for n in np.unique(labels)[1:]
    )
    assert len(rings.ids) == expected
    area = np.bincount(rings.ids, rings.areas())[np.unique(labels)[1:]]
    assert (area > 0).all()  # holes are negative


def test_overlaps_are_those_of_drawn_polygons(labels):
    rings = traced(labels, np.unique(labels)[1:]).simplified(1.5)
    drawn = [iou(labels == n, ring) for n, ring in zip(rings.ids, rings.closed(), strict=True)]
    np.testing.assert_allclose(overlaps(rings, labels), drawn)


def test_no_objects_give_no_rings():
    rings = traced(np.zeros((4, 5), np.int32), np.zeros(0, np.int64)).corners().simplified(0.5)
    assert (len(rings.ids), rings.closed(), len(rings.areas())) == (0, [], 0)
