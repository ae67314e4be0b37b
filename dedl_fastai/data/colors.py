"""`planes_to_rgb`: planes of channels as one picture in colours. Every composite is made here."""

from collections.abc import Sequence

import numpy as np

Color = tuple[int, int, int]

COLORS: tuple[Color, ...] = (  # used in turn for channels without a colour of their own
    (0, 0, 255),
    (0, 255, 0),
    (255, 0, 0),
    (255, 255, 0),
    (255, 0, 255),
    (0, 255, 255),
    (255, 128, 0),
    (255, 255, 255),
)


def planes_to_rgb(
    planes: np.ndarray,  # (C, H, W) in [0, 1]
    colors: Sequence[Color | None] | None = None,  # of each plane, 0 to 255; default: `COLORS` in turn
) -> np.ndarray:
    """Add the planes in their colours and clip; float32 (3, H, W) in [0, 1]."""
    colors = colors or [None] * len(planes)
    filled = [c or COLORS[i % len(COLORS)] for i, c in enumerate(colors)]
    mixed = np.tensordot(np.array(filled, dtype=np.float32).T / np.float32(255), planes, axes=1)
    return np.clip(mixed, 0, 1, dtype=np.float32)
