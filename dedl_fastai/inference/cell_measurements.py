"""`features_for`: the features of the cells of a field as a classifier of single cells was trained on them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..cells.features import cell_features, length_unit
from ..errors import UserError


def features_for(cells: pd.DataFrame, measured: Mapping[str, Any], channels: Sequence[str]) -> np.ndarray:
    """The features (N, F) of the cells of a field, with the intensities, quartiles and unit of lengths of `measured`.

    Raises `UserError` for a missing channel or pixel size.
    """
    unit = length_unit(cells)
    if len(cells) and unit != measured["unit"]:
        raise UserError(
            f"the classifier of cells was trained with lengths in {measured['unit']}, and this field has them in "
            f"{unit}: give pixel_size_um, or train on fields that do not give theirs."
        )
    quartiles = measured.get("ring_quartiles", False)  # earlier versions had none
    return cell_features(cells, channels, measured["intensities"], quartiles).to_numpy()
