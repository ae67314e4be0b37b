"""Matching of nuclei with the cells of a table, by nucleus and by place."""

import numpy as np
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.scores.cell_matches import match_by_nucleus, match_by_place, matched_cells


@pytest.fixture
def labels():
    """Nucleus 2 on the left, nucleus 5 on the right of a small field."""
    image = np.zeros((10, 20), np.int32)
    image[2:8, 2:8], image[2:8, 12:18] = 2, 5
    return image


IDS = np.array([2, 5])
CENTRES = np.array([[4.5, 4.5], [4.5, 14.5]])


def test_a_nucleus_gets_the_cell_whose_centre_it_contains(labels):
    cells = np.array([[4.0, 17.0], [5.0, 5.0], [9.0, 10.0]])
    assert match_by_nucleus(labels, IDS, CENTRES, cells).tolist() == [1, 0]


def test_of_several_cells_in_a_nucleus_the_nearest_to_its_centre_is_taken(labels):
    cells = np.array([[3.0, 3.0], [4.0, 5.0]])
    assert match_by_nucleus(labels, IDS, CENTRES, cells).tolist() == [1, -1]


def test_cells_outside_the_field_and_without_a_position_match_nothing(labels):
    cells = np.array([[np.nan, 4.0], [-3.0, 4.0], [4.0, 500.0]])
    assert match_by_nucleus(labels, IDS, CENTRES, cells).tolist() == [-1, -1]
    assert match_by_place(CENTRES, cells, 5.0).tolist() == [-1, -1]


def test_by_place_nearest_pairs_come_first_and_no_cell_is_used_twice():
    nuclei = np.array([[0.0, 0.0], [0.0, 3.0]])
    cells = np.array([[0.0, 2.0], [0.0, -2.5]])
    assert match_by_place(nuclei, cells, 3.0).tolist() == [1, 0]
    assert match_by_place(nuclei, cells[:1], 3.0).tolist() == [-1, 0]


def test_the_radius_is_in_um_where_the_pixel_size_is_known(labels):
    cells = np.array([[4.5, 9.0]])
    by_place = [
        matched_cells(labels, IDS, CENTRES, cells, by="place", pixel_size_um=s).tolist() for s in (None, 0.5, 2)
    ]
    assert by_place == [[0, -1], [0, -1], [-1, -1]]


def test_another_way_of_matching_is_an_error(labels):
    with pytest.raises(UserError, match="match='name' is unknown"):
        matched_cells(labels, IDS, CENTRES, CENTRES, by="name")


def test_a_field_without_nuclei_or_cells_has_no_matches(labels):
    none = np.zeros((0, 2))
    for by in ("nucleus", "place"):
        assert matched_cells(labels, IDS, CENTRES, none, by=by).tolist() == [-1, -1]
        assert matched_cells(labels, IDS[:0], none, CENTRES, by=by).tolist() == []
