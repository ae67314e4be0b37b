"""`CellTyper`: a classifier of single cells from a run folder, and the types that it gives to the cells of a field."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from ..cells.phenotyping import with_types
from ..cells.trees import Trees
from ..errors import UserError
from ..io.fields.field import Field
from ..io.files import existing_file
from ..scores.confidence import Calibration, decided
from ..training.model_card import read_card
from ..training.run_folder import RunFolder
from .cell_measurements import features_for

OF_CLASS = "probability "  # beginning of the columns with the probabilities of the classes


class CellTyper(Protocol):
    """A classifier of single cells, on measurements or on crops."""

    @property
    def card(self) -> dict[str, Any]:
        """The contents of its model.json."""

    @property
    def needs_pixels(self) -> bool:
        """Whether it looks at the field, not only at the table."""

    @property
    def classes(self) -> list[str]:
        """Names of the types, in the order of the probabilities."""

    @property
    def ring_um(self) -> float:
        """Width of the ring that the cells are measured with."""

    @property
    def ring_quartiles(self) -> bool:
        """Whether it needs the quartiles of the rings."""

    @property
    def channels(self) -> list[str]:
        """Names of the channels that it sees."""

    @property
    def min_confidence(self) -> float:
        """Probability below which a type is left undecided unless the caller says otherwise."""

    @property
    def how(self) -> str:
        """What the classifier is and sees, in a phrase."""

    def probabilities(self, cells: pd.DataFrame, field: Field | None, labels: Any) -> np.ndarray:
        """Calibrated probabilities (N, K) for the cells of a field; NaN for a cell that cannot be classified."""


@dataclass(frozen=True)
class MeasuredTypes:
    """Trees on measurements of cells, from a run of `clf` with items=cells and input=measurements."""

    trees: Trees
    card: dict[str, Any]
    needs_pixels: bool = False

    def __post_init__(self):
        n = len(self.card["features"])
        if int(self.trees.feature.max(initial=0)) >= n or self.trees.value.shape[1] != len(self.classes):
            raise UserError("the trees do not fit the model.json next to them: they are from different runs.")

    @classmethod
    def load(cls, run: RunFolder, which: str = "best") -> "MeasuredTypes":
        """Read the trees and model.json of a run. Raises `UserError` for damaged files."""
        path = existing_file(run.path / f"{which}.safetensors")
        try:
            return cls(Trees.from_tensors(load_arrays(path.read_bytes())), read_card(run))
        except (SafetensorError, ValueError, KeyError) as e:
            raise UserError(f"{path} cannot be read as the trees of a classifier ({e}): copy it again.") from e

    @property
    def classes(self) -> list[str]:
        """Names of the types, in the order of the probabilities."""
        return list(self.card["classes"])

    @property
    def ring_um(self) -> float:
        """Width of the ring that the cells are measured with."""
        return float(self.card["ring_um"])

    @property
    def ring_quartiles(self) -> bool:
        """Whether it needs the quartiles of the rings."""
        return bool(self.card.get("ring_quartiles", False))  # earlier versions had none

    @property
    def channels(self) -> list[str]:
        """Names of the channels that it sees."""
        return list(self.card["channels"])

    @property
    def min_confidence(self) -> float:
        """Probability below which a type is left undecided unless the caller says otherwise."""
        return float(self.card["min_confidence"])

    @property
    def how(self) -> str:
        """What the classifier is and sees, in a phrase."""
        return f"a {self.card['kind']} on {self.card['intensities']} measurements"

    def probabilities(self, cells: pd.DataFrame, field: Field | None = None, labels: Any = None) -> np.ndarray:
        """Calibrated probabilities (N, K); field and labels are not needed."""
        return self.of_features(features_for(cells, self.card, self.channels))

    def of_features(self, x: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (N, K) of features (N, F), NaN where a feature is."""
        p = Calibration(**self.card["calibration"])(self.trees.probabilities(x, self.card["sums"]))
        return np.where(np.isnan(x).any(axis=1, keepdims=True), np.nan, p)


def load_cell_types(path: str | Path, which: str = "best", device: str = "auto") -> CellTyper:
    """Load a classifier of single cells. Raises `UserError` if the folder holds another run or none."""
    run = RunFolder.existing(path)
    card = read_card(run)
    if card["task"] != "cells":
        raise UserError(
            f"{run.path} is a {card['task']} run: a classifier of single cells (clf with items=cells) is needed."
        )
    if card["kind"] == "network":
        from .crop_types import CropTypes  # the other kind needs no deep-learning library

        return CropTypes.load(run, which, device)
    return MeasuredTypes.load(run, which)


def add_cell_types(
    cells: pd.DataFrame, p: np.ndarray, classes: Sequence[str], min_confidence: float = 0.0, how: str = ""
) -> pd.DataFrame:
    """Add `phenotype` (empty for undecided cells), its probability and that of each class, and nearest distances.

    A cell is undecided if the probability of its most probable type is below `min_confidence`, or not known.
    """
    chosen = decided(p, min_confidence)
    names = np.where(chosen >= 0, np.array([*classes, ""], dtype=object)[chosen], "")
    columns = {f"{OF_CLASS}{c}": p[:, k] for k, c in enumerate(classes)}
    confidence = p.max(axis=1) if len(p) else np.zeros(0)
    table = cells.assign(phenotype_probability=confidence, **columns)
    limit = f", undecided below a probability of {min_confidence:g}" if min_confidence else ""
    return with_types(table, pd.Series(names, cells.index), classes, how=f"types by {how}{limit}")
