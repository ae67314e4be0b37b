"""`ClassifierEnsemble`: several classification runs as one model, with the mean of their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.classification.items import ClfFacts, ClfItem
from ..errors import UserError
from ..io.fields.field import Field
from .classifier import Classifier
from .load import load_classifier
from .predicted import PredictedClasses, predicted_classes

_OF_PICTURES = ("input", "channels", "scaling", "size", "tile")


@dataclass
class ClassifierEnsemble:
    """Classification models of the same classes; their probabilities and thresholds are averaged."""

    members: Sequence[Classifier]

    @classmethod
    def load(
        cls,
        paths: Sequence[str | Path],
        which: str = "best",  # best, last, swa
        device: str = "auto",
    ) -> "ClassifierEnsemble":
        """Load the runs in these folders. Raises `UserError` if they are not classification runs of the same classes.

        Their inputs may differ: for a file, each member reads its own.
        """
        if not paths:
            raise UserError("an ensemble needs at least one run folder.")
        members = [load_classifier(path, which, device) for path in paths]
        for path, member in zip(paths, members, strict=True):
            if member.classes != members[0].classes:
                names = ", ".join(member.classes)
                raise UserError(f"{path} does not fit the first run: its classes are {names}.")
        return cls(members)

    def __repr__(self) -> str:
        return f"ClassifierEnsemble({len(self.members)} members: {', '.join(self.classes)})"

    @property
    def facts(self) -> ClfFacts:
        """The first member's facts about the data."""
        return self.members[0].facts

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the probabilities."""
        return self.members[0].classes

    @property
    def thresholds(self) -> np.ndarray:
        """The mean of the members' thresholds, for each class."""
        return np.mean([m.thresholds for m in self.members], axis=0)

    def probabilities(self, pictures: Sequence[np.ndarray | ClfItem] | np.ndarray) -> np.ndarray:
        """(N, K) mean probabilities of pictures (C, size, size) in [0, 1], or of items of the DataBlock.

        Raises `UserError` if the members need different pictures.
        """
        for name in _OF_PICTURES:
            ours, *others = (getattr(m.facts, name) for m in self.members)
            if any(other != ours for other in others):
                raise UserError(f"the members of the ensemble need different pictures: their {name} differs.")
        return np.mean([m.probabilities(pictures) for m in self.members], axis=0)

    def probability(self, field: str | Path | Field) -> dict[str, float]:
        """Class -> mean probability for an image file; for models of tiles, the maximum over the tiles of each."""
        p = np.mean([list(m.probability(field).values()) for m in self.members], axis=0)
        return dict(zip(self.classes, map(float, p), strict=True))

    def predict(self, field: str | Path | Field) -> PredictedClasses:
        """What `learn.predict` returns for a file: the present classes, 0 or 1 for each class, the probabilities."""
        return predicted_classes(self.probability(field), self.thresholds)

    def labels(self, field: str | Path | Field) -> list[str]:
        """Names of the classes that are present in an image file, at the mean thresholds."""
        return list(self.predict(field)[0])
