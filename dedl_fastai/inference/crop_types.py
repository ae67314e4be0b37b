"""`CropTypes`: a network that predicts the types of single cells from the crops around them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ..data.classification.crops import corners_of, crop_edge, crop_of
from ..data.pixels import ScaledField
from ..errors import UserError
from ..io.fields.field import Field
from ..models.classification import ClfSpec, create_clf_model
from ..models.device import pick_device
from ..models.weights import read_tensors
from ..scores.confidence import Calibration
from ..training.model_card import clf_facts_from_card, read_card
from ..training.run_folder import RunFolder
from .cell_measurements import features_for
from .classifier import Classifier

_ROWS = 256  # of a field whose cells are predicted together


@dataclass
class CropTypes:
    """A network and its model.json, from a run of `clf` with items=cells and input=markers."""

    model: nn.Module
    card: dict[str, Any]
    device: torch.device
    needs_pixels: bool = True

    def __post_init__(self):
        self.facts = clf_facts_from_card(self.card)
        self.classifier = Classifier(self.model, {**self.card, "thresholds": None}, None, self.device, bs=64)

    @classmethod
    def load(cls, run: RunFolder, which: str = "best", device: str = "auto") -> "CropTypes":
        """Load the network of a run. Raises `UserError` for damaged files."""
        card, file = read_card(run), run.path / f"{which}.safetensors"
        model = create_clf_model(ClfSpec.from_dict(card["network"]), "none")
        try:
            model.load_state_dict(read_tensors(file))
        except RuntimeError as e:
            raise UserError(f"{file} does not fit the model.json next to it: they are from different runs.") from e
        return cls(model, card, pick_device(device))

    @property
    def classes(self) -> list[str]:
        """Names of the types, in the order of the probabilities."""
        return list(self.card["classes"])

    @property
    def channels(self) -> list[str]:
        """Names of the channels that it sees."""
        return list(self.card["channels"])

    @property
    def ring_um(self) -> float:
        """Width of the ring that the cells are measured with."""
        return float(self.card["ring_um"])

    @property
    def ring_quartiles(self) -> bool:
        """Whether it needs the quartiles of the rings."""
        return bool(self.joined.get("ring_quartiles", False))

    @property
    def min_confidence(self) -> float:
        """Probability below which a type is left undecided unless the caller says otherwise."""
        return float(self.card["min_confidence"])

    @property
    def how(self) -> str:
        """What the classifier is and sees, in a phrase."""
        joined = f" and {self.joined['intensities']} measurements" if self.joined else ""
        return f"a {self.card['network']['model']} on crops of {self.card['crop_um']:g} um{joined}"

    @property
    def joined(self) -> dict[str, Any]:
        """Which measurements join the crops: their intensities and the unit of lengths; empty if none do."""
        return self.card.get("joined", {})  # earlier versions had none

    def probabilities(self, cells: pd.DataFrame, field: Field | None, labels: Any) -> np.ndarray:
        """Calibrated probabilities (N, K) for the cells of a field, with some rows of it in memory at a time."""
        assert field is not None
        measured = features_for(cells, self.joined, self.channels) if self.joined else None
        edge, p = crop_edge(self.card["crop_um"], field.pixel_size_um), np.zeros((len(cells), len(self.classes)))
        pixels = ScaledField(field, self.facts.channels, self.facts.scaling)
        height = field.shape[0]
        at = np.array(list(corners_of(cells, edge)), dtype=np.int64).reshape(-1, 3)
        band = np.clip(at[:, 1] + edge // 2, 0, height - 1) // _ROWS
        for number in np.unique(band):
            top, bottom = max(0, number * _ROWS - edge), min(height, (number + 1) * _ROWS + edge)
            planes, ids = pixels[:, top:bottom], np.asarray(labels[top:bottom, :])
            own = np.flatnonzero(band == number)
            for some in np.array_split(own, -(-len(own) // 256)):
                p[some] = self.classifier.joined_probabilities(
                    [
                        crop_of(planes, ids, n, y=y - top, x=x, edge=edge, size=self.facts.size)
                        for n, y, x in at[some].tolist()
                    ],
                    None if measured is None else measured[some],
                )
        return Calibration(**self.card["calibration"])(p / np.maximum(p.sum(axis=1, keepdims=True), 1e-12))
