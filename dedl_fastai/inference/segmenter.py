"""`Segmenter`: a trained segmentation model with all it needs to predict fields of any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..data.pixels import read_scaled
from ..errors import UserError
from ..training.model_card import seg_facts_of
from ..training.run_folder import RunFolder
from .window import predict_probability


@dataclass
class Segmenter:
    """A network in eval mode and its model.json: from a field to probabilities and masks."""

    model: nn.Module
    card: dict[str, Any]
    run: RunFolder
    device: torch.device
    overlap: float = 0.25  # share of a tile that its neighbour covers too
    bs: int = 8

    def __post_init__(self):
        self.facts = seg_facts_of(self.card)
        self.mean, self.std = np.array(self.facts.mean), np.array(self.facts.std)
        self.model = self.model.to(self.device).eval()

    def __repr__(self) -> str:
        net = self.card["network"]
        names = ", ".join(self.facts.channels)
        return f"Segmenter({net['arch']}/{net['encoder']} on {names}, threshold {self.threshold:g})"

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is a nucleus: tuned on the validation fields, 0.5 where it was not."""
        return 0.5 if self.card["threshold"] is None else self.card["threshold"]

    def read(self, path: str | Path, channels: Sequence[str] = ()) -> np.ndarray:
        """An image file's channels as the model wants them: (C, H, W) float32 in [0, 1].

        `channels` names them where this file calls them otherwise ("blue" of a composite for DAPI).
        """
        if channels and len(channels) != len(self.facts.channels):
            raise UserError(f"the model sees {len(self.facts.channels)} channels, not {len(channels)}: --channel.")
        return read_scaled(path, channels or self.facts.channels, self.facts.scaling)

    def probability(self, field: str | Path | np.ndarray) -> np.ndarray:
        """Probability of nuclei as float32 (H, W), of an image file or of what `read` returned."""
        pixels = field if isinstance(field, np.ndarray) else self.read(field)
        return predict_probability(
            self.model, pixels, self.mean, self.std, self.facts.tile, self.overlap, self.bs, self.device
        )

    def mask(self, field: str | Path | np.ndarray) -> np.ndarray:
        """Mask of nuclei as bool (H, W), at the tuned threshold."""
        return self.probability(field) >= self.threshold
