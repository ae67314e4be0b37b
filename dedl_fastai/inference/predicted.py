"""What `predict` returns, for a Learner, a run and an ensemble alike: fastai's three values of a prediction."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from ..scores.thresholds import predicted_labels

if TYPE_CHECKING:  # they are fastai's tensors: a command, which does not make them, need not import fastai
    from ..data.classification.tensors import ClassSet
    from ..data.segmentation.tensors import TensorNuclei

PredictedMask: TypeAlias = "tuple[TensorNuclei, torch.Tensor, torch.Tensor]"
PredictedClasses: TypeAlias = "tuple[ClassSet, torch.Tensor, torch.Tensor]"


def predicted_mask(probability: np.ndarray, threshold: float) -> PredictedMask:
    """Mask of nuclei (H, W), the same as integers, and the probabilities (2, H, W) of background and nuclei."""
    from ..data.segmentation.tensors import TensorNuclei

    nuclei = torch.from_numpy(np.ascontiguousarray(probability))
    mask = (nuclei >= threshold).long()
    return TensorNuclei(mask), mask, torch.stack([1 - nuclei, nuclei])


def predicted_classes(probability: Mapping[str, float], thresholds: np.ndarray | Sequence[float]) -> PredictedClasses:
    """The classes that are present, 0 or 1 for each class, and the probability of each class as float32."""
    from ..data.classification.tensors import ClassSet

    names, values = list(probability), list(probability.values())
    present = predicted_labels(values, thresholds)
    there = [name for name, is_there in zip(names, present, strict=True) if is_there]
    return ClassSet(there, dict(probability)), torch.tensor(present).long(), torch.tensor(values, dtype=torch.float32)
