"""`Classifier`: a trained classification model that predicts the classes of image files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from ..data.classification.items import ClfItem, tiles_of_file
from ..io.fields.field import Field
from ..training.model_card import clf_facts_from_card, clf_model_card
from ..training.run_folder import RunFolder
from .predicted import PredictedClasses, predicted_classes

if TYPE_CHECKING:  # fastai takes seconds to import, and a prediction does not need it
    from fastai.learner import Learner


@dataclass
class Classifier:
    """A network in eval mode and its model.json; predicts the probability of each class."""

    model: nn.Module
    card: dict[str, Any]
    run: RunFolder | None  # None for the model of a Learner
    device: torch.device
    bs: int = 16
    sees_pictures: ClassVar[bool] = True  # False: it sees the cells of a field

    def __post_init__(self):
        self.facts = clf_facts_from_card(self.card)
        shape = (-1, 1, 1)
        self.mean = torch.tensor(self.facts.mean, device=self.device).reshape(shape)
        self.std = torch.tensor(self.facts.std, device=self.device).reshape(shape)
        self.model = self.model.to(self.device).eval()

    @classmethod
    def of(cls, learn: "Learner", bs: int = 16) -> "Classifier":
        """The model of a Learner, with the thresholds that `learn.evaluate` tuned."""
        card = clf_model_card(learn.spec, learn.dls.facts, getattr(learn, "thresholds", None))
        return cls(learn.model, card, None, torch.device(learn.dls.device), bs)

    def __repr__(self) -> str:
        return f"Classifier({self.card['network']['model']} on {self.facts.input}: {', '.join(self.classes)})"

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the probabilities."""
        return list(self.facts.vocab)

    @property
    def thresholds(self) -> np.ndarray:
        """Probability at which each class is present: tuned on the validation items, or 0.5 if not tuned."""
        return np.array(self.card["thresholds"] or [0.5] * len(self.classes))

    def probabilities(self, pictures: Sequence[np.ndarray | ClfItem] | np.ndarray) -> np.ndarray:
        """(N, K) probabilities of pictures (C, size, size) in [0, 1], or of items of the DataBlock."""
        return self.joined_probabilities(pictures, None)

    @torch.inference_mode()
    def joined_probabilities(
        self, pictures: Sequence[np.ndarray | ClfItem] | np.ndarray, measurements: np.ndarray | None
    ) -> np.ndarray:
        """The same for a network that takes the measurements (N, F), float32, of a cell next to its picture."""
        batches = []
        for i in range(0, len(pictures), self.bs):
            arrays = [p.pixels() if isinstance(p, ClfItem) else p for p in pictures[i : i + self.bs]]
            x = torch.from_numpy(np.stack(arrays)).to(self.device)
            inputs = [(x - self.mean) / self.std]
            if measurements is not None:
                inputs.append(torch.from_numpy(measurements[i : i + self.bs]).to(self.device))
            batches.append(self.model(*inputs).float().sigmoid().cpu().numpy())
        return np.concatenate(batches) if batches else np.zeros((0, len(self.classes)), dtype=np.float32)

    def probability(self, field: str | Path | Field) -> dict[str, float]:
        """Class -> probability for an image file; for a model of tiles, the maximum over the tiles."""
        path = field.path if isinstance(field, Field) else field
        p = self.probabilities(tiles_of_file(path, self.facts)[1]).max(axis=0)
        return dict(zip(self.classes, map(float, p), strict=True))

    def predict(self, field: str | Path | Field) -> PredictedClasses:
        """What `learn.predict` returns for a file: the present classes, 0 or 1 for each class, the probabilities."""
        return predicted_classes(self.probability(field), self.thresholds)

    def labels(self, field: str | Path | Field) -> list[str]:
        """Names of the classes that are present in an image file, at the tuned thresholds."""
        return list(self.predict(field)[0])
