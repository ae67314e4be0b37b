"""`Ensemble`: several segmentation runs as one model, with the spread of their probabilities as uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .load import load_run
from .segmenter import Segmenter


@dataclass(frozen=True)
class FieldProbability:
    """Mean probability of nuclei over the members, (H, W), and its standard deviation (0 for a single member)."""

    mean: np.ndarray
    sd: np.ndarray

    @property
    def entropy(self) -> np.ndarray:
        """Entropy of the mean probability in bits, (H, W): 0 where it is 0 or 1, 1 where it is 0.5."""
        p = np.clip(self.mean, 1e-7, 1 - 1e-7)
        return (-p * np.log2(p) - (1 - p) * np.log2(1 - p)).astype(np.float32)

    @property
    def uncertainty(self) -> float:
        """One number a field: the mean entropy."""
        return float(self.entropy.mean())


@dataclass
class Ensemble:
    """Segmentation models of the same channels and classes; a field is read once and goes through all of them."""

    members: Sequence[Segmenter]

    @classmethod
    def load(cls, paths: Sequence[str | Path], which: str = "best", device: str = "auto") -> "Ensemble":
        """The runs in these folders. Raises `UserError` naming the difference if they do not go together."""
        if not paths:
            raise UserError("an ensemble needs at least one run folder.")
        members = [load_run(p, which, device) for p in paths]
        for path, member in zip(paths, members, strict=True):
            if not isinstance(member, Segmenter):
                raise UserError(f"{path} is a classification run: an ensemble is of segmentation runs.")
            _check_fits(members[0], member, path)
        return cls(members)

    def __repr__(self) -> str:
        return f"Ensemble({len(self.members)} members, threshold {self.threshold:g})"

    @property
    def threshold(self) -> float:
        """The mean of the members' tuned thresholds."""
        return float(np.mean([m.threshold for m in self.members]))

    def predict(self, field: str | Path | np.ndarray) -> FieldProbability:
        """Mean and spread of the members' probabilities, of an image file or of what a member's `read` returned."""
        pixels = field if isinstance(field, np.ndarray) else self.members[0].read(field)
        total = squares = 0.0
        for member in self.members:
            p = member.probability(pixels)
            total, squares = total + p, squares + p.astype(np.float64) ** 2
        mean = total / len(self.members)
        variance = squares / len(self.members) - mean.astype(np.float64) ** 2
        return FieldProbability(mean, np.sqrt(np.maximum(variance, 0)).astype(np.float32))

    def mask(self, field: str | Path | np.ndarray) -> np.ndarray:
        """Mask of nuclei as bool (H, W), at the mean threshold."""
        return self.predict(field).mean >= self.threshold


def _check_fits(first: Segmenter, other: Segmenter, path: str | Path) -> None:
    for name in ("channels", "scaling", "classes"):
        ours, theirs = getattr(first.facts, name), getattr(other.facts, name)
        if ours != theirs:
            raise UserError(f"{path} does not fit the first run: its {name} are {theirs}, not {ours}.")
