"""`Calibration`: probabilities of classes made to mean what they say, by a temperature and a bias for each class."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from .calibration import calibration_error

_LEAST = 1e-3  # probability that stands for 0: a forest has never seen what it calls impossible
_PULL = 1e-2  # strength of the pull of the biases to 0 and of the temperature to 1, for classes with few cells
UNDECIDED = -1  # the decision for an item below the wanted confidence


@dataclass(frozen=True)
class Calibration:
    """The logarithms of the probabilities are divided by the temperature, and the biases are added."""

    temperature: float = 1.0
    bias: tuple[float, ...] = ()  # of each class; (): none

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities (N, K) of (N, K); rows with NaN stay NaN."""
        logits = np.log(np.maximum(p, _LEAST)) / self.temperature + (np.array(self.bias) if self.bias else 0.0)
        return np.exp(log_softmax(logits, axis=1)) if len(p) else np.asarray(p, float)


def fit_calibration(p: np.ndarray, truth: np.ndarray) -> Calibration:
    """Return the calibration with the best likelihood of the true classes (N,) at probabilities (N, K).

    The items must not be those that the model was trained on. Without items it changes nothing.
    """
    k = p.shape[1]
    if not len(p):
        return Calibration(1.0, (0.0,) * k)
    log_p, rows = np.log(np.maximum(p, _LEAST)), np.arange(len(p))

    def loss(x: np.ndarray) -> float:
        logits = log_p * np.exp(x[0]) + x[1:]
        return float(-log_softmax(logits, axis=1)[rows, truth].mean() + _PULL * (x**2).mean())

    found = minimize(loss, np.zeros(k + 1), method="L-BFGS-B").x
    return Calibration(round(float(np.exp(-found[0])), 6), tuple(round(float(b), 6) for b in found[1:]))


def decided(p: np.ndarray, min_confidence: float = 0.0) -> np.ndarray:
    """Return the most probable class of each item (N,), -1 below the confidence and for probabilities that are NaN."""
    if not len(p):
        return np.zeros(0, int)
    confidence = p.max(axis=1)  # NaN if one is NaN
    return np.where(confidence >= min_confidence, p.argmax(axis=1), UNDECIDED)


def confidence_error(p: np.ndarray, truth: np.ndarray) -> float:
    """Expected calibration error of the most probable class: confidence against the share that is right."""
    known = np.isfinite(p).all(axis=1)
    return calibration_error(p[known].max(axis=1), p[known].argmax(axis=1) == truth[known]) if known.any() else 0.0
