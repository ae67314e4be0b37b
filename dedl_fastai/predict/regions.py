"""`regions_of`: the regions of a predicted field, with what says how useful it is to correct them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..inference.regions import region_edges

if TYPE_CHECKING:  # the page reads records, and PyTorch takes seconds to import
    from ..inference.field_cells import FieldCells

_MOST = 64  # regions of a field, so that the record of a slide stays small


def regions_of(found: "FieldCells") -> list[dict[str, Any]]:
    """Return the regions of a field that hold nuclei, in the order of reading; of many, the most useful ones.

    Each has its box `x0`, `y0`, `x1`, `y1` in pixels, the number of `cells` whose centres it holds, their mean `area`
    in pixels, the mean `uncertainty` (entropy in bits), and the `doubt` (mean of 1 - solidity).
    """
    if found.region_uncertainty is None:
        return []
    y, x = (region_edges(length) for length in found.labels.shape)
    cells = found.cells
    row = np.searchsorted(y, cells["y_px"] + 0.5, side="right") - 1
    column = np.searchsorted(x, cells["x_px"] + 0.5, side="right") - 1
    place = np.ravel_multi_index((row, column), found.region_uncertainty.shape)
    means = cells.assign(doubt=1 - cells["solidity"]).groupby(place)[["area_px", "doubt"]].mean()
    counts = np.bincount(place, minlength=found.region_uncertainty.size)
    regions = []
    for i in means.index:
        r, c = np.unravel_index(i, found.region_uncertainty.shape)
        box = {"x0": x[c], "y0": y[r], "x1": x[c + 1], "y1": y[r + 1]}
        regions.append(
            {name: int(value) for name, value in box.items()}
            | {"cells": int(counts[i]), "area": round(float(means["area_px"][i]), 3)}
            | {"uncertainty": round(float(found.region_uncertainty[r, c]), 6), "doubt": round(means["doubt"][i], 6)}
        )
    most_useful = sorted(regions, key=lambda region: -region["uncertainty"] * region["doubt"])[:_MOST]
    return sorted(most_useful, key=lambda region: (region["y0"], region["x0"]))
