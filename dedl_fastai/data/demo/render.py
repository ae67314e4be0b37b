"""Pixels of a synthetic field: nuclei, membranes, haze, autofluorescent fibres, uneven light and noise."""

import numpy as np
from scipy import ndimage as ndi

from ...io.outlines import label_image
from .cells import Cells, smooth_noise
from .difficulty import USUAL_HAZE, Flaws, Haze, with_spill_and_gain

CHANNELS = {  # page order of the paper (its 4.1) with display colours
    "DAPI": (0, 0, 255),
    "CXCR3 (Opal 520)": (255, 0, 255),
    "CD19 (Opal 540)": (0, 255, 0),
    "CXCR5 (Opal 570)": (255, 255, 0),
    "PD1 (Opal 620)": (255, 128, 0),
    "CD4 (Opal 650)": (255, 0, 0),
    "CD27 (Opal 690)": (0, 255, 255),
    "Autofluorescence": (45, 45, 45),
}


def render_field(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: Cells,
    *,
    flaws: Flaws | None = None,
    haze: Haze = USUAL_HAZE,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the channels as float32 (H, W) in the range of inForm's counts (0 to ~100), and the ids (H, W).

    The ids are those of the nuclei. With `flaws`, the markers are those of the hard cohort; `haze` says how clearly
    nuclei are seen.
    """
    nuclei = label_image(shape, cells.outlines)
    rims = label_image(shape, _scaled(cells, 1.35)), label_image(shape, _scaled(cells, 0.75))
    fibres = _fibres(rng, shape)
    light = 1 + 0.16 * smooth_noise(rng, shape, 90.0)
    planes = {"DAPI": _dapi(rng, nuclei, cells=cells, fibres=fibres, light=light, haze=haze)}
    glow = ndi.gaussian_filter(_painted(rims[0], flaws.autofluorescence), 1.2) if flaws else 0.0
    markers = {}
    for name in list(CHANNELS)[1:-1]:
        marker = name.split(" ")[0]
        markers[name] = _marker(
            rng,
            rims,
            cells.positive[marker].to_numpy(),
            fibres=fibres,
            light=light,
            strength=flaws.strength[marker].to_numpy() if flaws else 1.0,
            glow=glow,
        )
    planes |= with_spill_and_gain(markers, flaws) if flaws else markers
    planes["Autofluorescence"] = _noisy(rng, light * (1.5 + 4 * fibres + glow), gain=0.05)
    return planes, nuclei


def _painted(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.append(0, values).astype(np.float32)[labels]


def _scaled(cells: Cells, factor: float) -> np.ndarray:
    centres = cells.centres[:, None]
    return centres + (cells.outlines - centres) * factor


def _dapi(
    rng: np.random.Generator, nuclei: np.ndarray, *, cells: Cells, fibres: np.ndarray, light: np.ndarray, haze: Haze
) -> np.ndarray:
    """Sharp nuclei of very different brightness with chromatin texture, and haze of nuclei below the focal plane."""
    n = len(cells.centres)
    brightness = rng.lognormal(np.log(16), haze.brightness_sd, n)
    chromatin = 1 + ndi.gaussian_filter(rng.standard_normal(nuclei.shape), 1.3)
    sharp = ndi.gaussian_filter(_painted(nuclei, brightness) * np.clip(chromatin, 0.3, 2.0), 1.1)
    outlines = _scaled(cells, 1.25) + rng.normal(0, 14, (n, 1, 2))
    is_below = rng.random(n) < haze.below
    below = _painted(label_image(nuclei.shape, outlines[is_below]), 0.9 * brightness[is_below])
    blurred = ndi.gaussian_filter(below, 5.0) + 0.5 * ndi.gaussian_filter(sharp, 14.0)
    return _noisy(rng, light * (2.0 + sharp + blurred + 2.5 * fibres), gain=0.22)


def _marker(
    rng: np.random.Generator,
    rims: tuple[np.ndarray, np.ndarray],  # label images of the cells' outer and inner border
    is_positive: np.ndarray,
    *,
    fibres: np.ndarray,
    light: np.ndarray,
    strength: np.ndarray | float,  # factor of each cell's signal
    glow: np.ndarray | float,  # signal that every channel has
) -> np.ndarray:
    """A membrane ring on positive cells, weak unspecific signal on the others, and some bleed-through of the fibres."""
    n = len(is_positive)
    level = np.where(is_positive, rng.lognormal(np.log(9), 0.4, n), rng.exponential(0.5, n)) * strength
    ring = np.clip(_painted(rims[0], level) - 0.65 * _painted(rims[1], level), 0, None)
    return _noisy(rng, light * (0.6 + ndi.gaussian_filter(ring, 1.2) + 0.8 * fibres + glow), gain=0.08)


def _fibres(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Muscle fibres: broad autofluorescent patches with dark seams, 0 to ~1."""
    seams = np.abs(smooth_noise(rng, shape, 22.0))
    return np.clip(seams, 0, 1.2) * np.clip(0.6 + 0.3 * smooth_noise(rng, shape, 60.0), 0, 1)


def _noisy(rng: np.random.Generator, signal: np.ndarray, gain: float) -> np.ndarray:
    """Add shot noise (its variance grows with the signal) and read noise; counts are clipped at 0."""
    signal = np.clip(signal, 0, None)
    noise = rng.standard_normal(signal.shape) * np.sqrt(gain * signal + 0.02)
    return np.clip(signal + noise, 0, None).astype(np.float32)


def composite(planes: dict[str, np.ndarray], shrink: int = 4) -> np.ndarray:
    """Return the RGB thumbnail as uint8 (h, w, 3): the sum of the channels in their colours, at 1/4 of the size."""
    total = 0.0  # not `planes_to_rgb`: its other order of rounding would change the bytes of the cohort
    for name, plane in planes.items():
        h, w = (n // shrink for n in plane.shape)
        small = plane[: h * shrink, : w * shrink].reshape(h, shrink, w, shrink).mean(axis=(1, 3))
        high = np.percentile(small, 99.7) if name == "DAPI" else 12.0  # a fixed display range keeps absent markers dark
        total = total + np.clip(small / high, 0, 1)[..., None] * np.array(CHANNELS[name], dtype=np.float32)
    return np.clip(total, 0, 255).astype(np.uint8)
