"""The channels of a coloured picture, and the one that is computed from them: the blue that no other colour holds."""

import numpy as np

RGB = ("red", "green", "blue")
RGB_COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
BLUE_ONLY = "blue-only"


def blue_only(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Return what blue has beyond red and green, at least 0: float32 (H, W), in the units of the planes.

    A composite adds up its channels in their colours. DAPI is drawn in blue, and other markers in cyan, magenta or
    white, which hold as much of green or red as of blue: of these nothing is left.
    """
    others = np.maximum(red, green).astype(np.float32)
    return np.maximum(blue.astype(np.float32) - others, 0)
