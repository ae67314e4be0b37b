"""The regions in a field's record: boxes, counts, sizes and doubt of the nuclei whose centres they hold."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from dedl_fastai.predict.regions import regions_of


def found(centres, shape, uncertainty, solidity=None, area=10):
    """A predicted field with nuclei at `centres` (x, y)."""
    x, y = np.array(centres, float).reshape(-1, 2).T
    cells = pd.DataFrame({"x_px": x, "y_px": y, "area_px": area, "solidity": 1.0 if solidity is None else solidity})
    return SimpleNamespace(labels=np.zeros(shape, np.int32), cells=cells, region_uncertainty=uncertainty)


def test_regions_count_the_nuclei_whose_centres_they_hold():
    uncertainty = np.array([[0.1, 0.2], [0.3, 0.4]])
    centres = [(0, 0), (298, 10), (299.5, 10), (599, 599)]  # the middle of pixel 299.5 is in the second column
    regions = regions_of(found(centres, (600, 600), uncertainty, solidity=[1, 0.9, 0.8, 0.7], area=[10, 20, 30, 40]))
    assert [(r["x0"], r["y0"], r["x1"], r["y1"]) for r in regions] == [
        (0, 0, 300, 300),
        (300, 0, 600, 300),
        (300, 300, 600, 600),
    ]
    assert [r["cells"] for r in regions] == [2, 1, 1] and [r["area"] for r in regions] == [15, 30, 40]
    assert [r["uncertainty"] for r in regions] == [0.1, 0.2, 0.4]
    np.testing.assert_allclose([r["doubt"] for r in regions], [0.05, 0.2, 0.3])


def test_a_field_without_nuclei_or_of_which_no_map_was_kept_has_none():
    assert regions_of(found([], (600, 600), np.zeros((2, 2)))) == []
    assert regions_of(found([(1, 1)], (600, 600), None)) == []


def test_of_many_regions_the_most_useful_are_kept_in_the_order_of_reading():
    n = 10
    uncertainty = np.arange(n * n, dtype=float).reshape(n, n)
    centres = [(256 * c + 128, 256 * r + 128) for r in range(n) for c in range(n)]
    regions = regions_of(found(centres, (256 * n, 256 * n), uncertainty, solidity=0.9))
    assert [r["uncertainty"] for r in regions] == list(range(36, 100))
