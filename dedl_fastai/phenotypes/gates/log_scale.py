"""`LogScale`: logarithms of intensities, with an offset so that cells without signal have one too."""

from dataclasses import dataclass

import numpy as np

_TOP = 0.999  # quantile that stands for the brightest cells
_RANGE = 1000.0  # the offset is this much smaller than the brightest cells


@dataclass(frozen=True)
class LogScale:
    """log(intensity + offset) and back; negative intensities, which unmixing can leave, count as 0."""

    offset: float

    @classmethod
    def of(cls, values: np.ndarray) -> "LogScale":
        """The scale of these finite intensities."""
        top = float(np.quantile(np.maximum(values, 0), _TOP)) if len(values) else 0.0
        return cls(top / _RANGE or 1.0)

    def log(self, values: np.ndarray) -> np.ndarray:
        """Logarithms of intensities."""
        return np.log(np.maximum(values, 0) + self.offset)

    def intensity(self, logs: np.ndarray | float) -> np.ndarray:
        """Intensities of logarithms."""
        return np.exp(logs) - self.offset
