"""The nuclei of cells with a table: outlines, masks with ids, disks."""

import numpy as np

from dedl_fastai.data.classification.labels import cells_of_row
from dedl_fastai.data.classification.nuclei import disks, known_nuclei
from dedl_fastai.io import open_field, read_outlines


def test_outlines_are_preferred_to_a_mask(tiny_cohort):
    row = tiny_cohort.rows()[0]
    with open_field(row.image) as field:
        labels, origin = known_nuclei(row, field, cells_of_row(row))
        assert labels.shape == field.shape
    assert origin == "outlines" and labels.max() == len(read_outlines(row.outlines))


def test_a_binary_mask_does_not_tell_nuclei_apart_so_that_disks_are_taken(tiny_cohort):
    row = tiny_cohort.rows()[0]._replace(outlines="")
    table = cells_of_row(row)
    with open_field(row.image) as field:
        labels, origin = known_nuclei(row, field, table)
    assert origin == "disks" and len(np.unique(labels)) > 0.9 * len(table)


def test_disks_have_the_radius_and_share_the_pixels_between_them():
    labels = disks((20, 30), np.array([[10.0, 8.0], [10.0, 12.0], [np.nan, 1.0], [50.0, 1.0]]), 5.0)
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert labels[10, 3] == 1 and labels[10, 2] == 0 and labels[10, 9] == 1 and labels[10, 11] == 2
