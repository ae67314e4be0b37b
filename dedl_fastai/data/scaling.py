"""Intensity scaling: per field and channel by percentiles into [0, 1], in float32, monotone."""

from dataclasses import asdict, dataclass

import numpy as np

from ..errors import UserError


@dataclass(frozen=True)
class PercentileScaling:
    """Map the `low` percentile to 0 and the `high` one to 1, clip beyond; a constant channel becomes 0.

    Order is kept (the released reference code wrapped float counts modulo 256 instead), and the settings are stored
    with the model.
    """

    low: float = 1.0
    high: float = 99.8

    def __post_init__(self):
        if not 0 <= self.low < self.high <= 100:
            raise UserError(f"percentiles {self.low} and {self.high}: 0 <= low < high <= 100 is needed.")

    def __call__(self, plane: np.ndarray) -> np.ndarray:
        """Scaled copy of one channel (H, W) as float32."""
        return stretched(plane, self.limits(plane))

    def limits(self, plane: np.ndarray) -> tuple[float, float]:
        """Intensities of a channel that become 0 and 1; the same twice for a constant one."""
        low, high = np.percentile(plane, [self.low, self.high])
        if high <= low:  # less than 0.2 % of the pixels differ from the rest, or none
            return float(plane.min()), float(plane.max())
        return float(low), float(high)

    def to_dict(self) -> dict:
        """The settings, for model.json."""
        return {"kind": "percentile", **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict) -> "PercentileScaling":
        """Settings from model.json."""
        if value.get("kind") != "percentile":
            raise UserError(f"scaling {value.get('kind')!r} is unknown; this version knows 'percentile'.")
        return cls(value["low"], value["high"])


def stretched(plane: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Pixels as float32, from 0 at the lower limit to 1 at the upper one, clipped; all 0 where both are the same."""
    low, high = limits
    if high <= low:
        return np.zeros(plane.shape, dtype=np.float32)
    return np.clip((plane - np.float32(low)) / np.float32(high - low), 0, 1, dtype=np.float32)
