"""Intensity scaling: map the percentiles of a field's channel to [0, 1], monotonically, in float32."""

from dataclasses import asdict, dataclass

import numpy as np

from ..errors import UserError


@dataclass(frozen=True)
class PercentileScaling:
    """Map the `low` percentile to 0 and the `high` one to 1 and clip the rest; a constant channel becomes 0.

    The order of intensities is kept (the released reference code wrapped float counts modulo 256 instead). The
    settings are stored with the model.
    """

    low: float = 1.0
    high: float = 99.8

    def __post_init__(self):
        if not 0 <= self.low < self.high <= 100:
            raise UserError(f"the percentiles {self.low} and {self.high} must satisfy 0 <= low < high <= 100.")

    def __call__(self, plane: np.ndarray) -> np.ndarray:
        """Return a scaled copy of one channel (H, W) as float32."""
        return stretched(plane, self.limits(plane))

    def limits(self, plane: np.ndarray) -> tuple[float, float]:
        """Return the intensities of a channel that are mapped to 0 and 1; they are equal if it is constant."""
        low, high = np.percentile(plane, [self.low, self.high])
        if high <= low:  # fewer than 0.2 % of the pixels differ from the rest, or none does
            return float(plane.min()), float(plane.max())
        return float(low), float(high)

    def to_dict(self) -> dict:
        """Return the settings for model.json."""
        return {"kind": "percentile", **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict) -> "PercentileScaling":
        """Create the scaling from its settings in model.json."""
        if value.get("kind") != "percentile":
            raise UserError(f"scaling {value.get('kind')!r} is unknown; this version knows 'percentile'.")
        return cls(value["low"], value["high"])


def stretched(plane: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return pixels as float32, 0 at the lower limit and 1 at the upper one, clipped; all 0 if the limits are equal."""
    low, high = limits
    if high <= low:
        return np.zeros(plane.shape, dtype=np.float32)
    return np.clip((plane - np.float32(low)) / np.float32(high - low), 0, 1, dtype=np.float32)
