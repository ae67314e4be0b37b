"""Corrections of single nuclei: exact pixels on small label images."""

import numpy as np
import pytest

from dedl_fastai.cells.editing import deleted, drawn, merged, split
from dedl_fastai.errors import UserError


@pytest.fixture
def labels():
    """Nucleus 1 of 12 x 12 pixels; 2 to the right of it after a gap of two pixels; 3 far from both."""
    image = np.zeros((40, 40), np.uint32)
    image[4:16, 4:16], image[4:16, 18:26], image[30:38, 30:38] = 1, 2, 3
    return image


def test_a_deleted_nucleus_is_background(labels):
    after = deleted(labels, 2)
    assert not (after == 2).any() and (after == 1).sum() == 144 and after.dtype == np.uint32


def test_merged_nuclei_have_one_label_and_no_gap(labels):
    after = merged(labels, 1, 2)
    assert (after[labels == 1] == 1).all() and (after[labels == 2] == 1).all() and (after[8:12, 4:26] == 1).all()
    assert (after == 1).sum() <= 12 * 22 and np.array_equal(after == 3, labels == 3)


def test_nuclei_far_from_each_other_are_not_merged(labels):
    with pytest.raises(UserError, match="1 and 3 do not touch"):
        merged(labels, 1, 3)


@pytest.mark.parametrize("line", [[(9.5, 0), (9.5, 20)], [(0.0, 0.0), (20.0, 20.0)], [(0, 9), (10, 9), (10, 30)]])
def test_a_line_splits_a_nucleus_into_parts_that_cover_it(labels, line):
    after, new = split(labels, 1, np.array(line, float), first_new=7)
    assert new == [7]
    assert ((after == 1) | (after == 7)).sum() == 144 and (after[labels == 1] > 0).all()
    assert (after == 1).sum() >= 60 and np.array_equal(after == 2, labels == 2)


def test_a_line_that_ends_inside_does_not_split(labels):
    with pytest.raises(UserError, match="in two"):
        split(labels, 1, np.array([(9.5, 0), (9.5, 8)]), first_new=7)


def test_a_drawn_nucleus_takes_free_pixels_only(labels):
    after = drawn(labels, 9, np.array([(10, 10), (30, 10), (30, 20), (10, 20)], float))
    assert (after == 9).sum() == 20 * 10 - 6 * 6 - 8 * 6
    assert np.array_equal(after == 1, labels == 1)
    with pytest.raises(UserError, match="no other nucleus"):
        drawn(labels, 9, np.array([(5, 5), (10, 5), (10, 10), (5, 10)], float))


def test_a_nucleus_that_is_drawn_again_is_replaced(labels):
    after = drawn(labels, 1, np.array([(2, 2), (8, 2), (8, 8), (2, 8)], float))
    assert (after == 1).sum() == 36 and (after[2:8, 2:8] == 1).all()
