"""Cells of a synthetic field: the positions and outlines of their nuclei, their classes and their markers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage as ndi

from ...phenotypes.rules import Rules

N_RAYS = 32  # outline points per nucleus, as in Van Buren's label tables
PREVALENCE = {
    "b": 0.94,
    "tfh": 0.46,
    "tfh217": 0.47,
    "tfhl": 0.15,
}  # share of fields with the class (paper, Fig. 2)
_SHARE = {"b": 0.14, "tfh": 0.08, "tfh217": 0.08, "tfhl": 0.06}  # share of the cells, in fields with the class
_CHANCE = {"CD27": 0.3, "CXCR3": 0.2, "PD1": 0.1, "CXCR5": 0.15, "CD4": 0.2, "CD19": 0.02}  # if no rule decides


@dataclass
class Cells:
    """The cells of one field: centres (n, 2) as (y, x), outlines (n, 32, 2), classes and marker positivity."""

    centres: np.ndarray
    outlines: np.ndarray
    classes: np.ndarray
    positive: pd.DataFrame


def scatter_cells(
    rng: np.random.Generator,
    shape: tuple[int, int],
    inflammation: float,
    rules: Rules,
    *,
    rare: float = 1.0,
    crowding: float = 0.0,
) -> Cells:
    """Draw the cells of a field at random.

    `inflammation` in 0..1 sets the density of the infiltrates, `rare` is a factor of the share of immune cells, and
    `crowding` in 0..1 makes infiltrates larger and fills them with nuclei.
    """
    density = infiltrate_density(rng, shape, min(1.0, inflammation + crowding))
    packed = density * (1 + crowding)
    radii, centres = _place(rng, packed, mean_radius=6.5, tries=3 + 9 * crowding)
    classes = _draw_classes(rng, density, centres, inflammation=inflammation, rare=rare)
    positive = _draw_markers(rng, classes, rules)
    return Cells(centres, _outlines(rng, centres, radii), classes, positive)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Return a smooth random image of mean 0 and standard deviation 1; `scale` is in pixels."""
    coarse = max(1, int(scale // 4))  # blurring on a coarse grid looks the same at a fraction of the cost
    small = rng.standard_normal([-(-n // coarse) + 2 for n in shape])
    small = ndi.gaussian_filter(small, scale / coarse, mode="reflect")
    big = ndi.zoom(small, coarse, order=1)[: shape[0], : shape[1]] if coarse > 1 else small[: shape[0], : shape[1]]
    return (big - big.mean()) / (big.std() + 1e-12)


def infiltrate_density(rng: np.random.Generator, shape: tuple[int, int], inflammation: float) -> np.ndarray:
    """Return the share of the area that nuclei cover: ~4 % between muscle fibres to ~50 % inside infiltrates."""
    hills = smooth_noise(rng, shape, 45.0)
    infiltrate = 1 / (1 + np.exp(-4 * (hills - 1.0 + 1.2 * inflammation)))
    return 0.04 + 0.46 * infiltrate


def _place(
    rng: np.random.Generator, density: np.ndarray, *, mean_radius: float, tries: float
) -> tuple[np.ndarray, np.ndarray]:
    """Radii and centres by dart throwing: a nucleus may touch its neighbours and overlap them slightly."""
    height, width = density.shape
    n_tries = int(tries * density.sum() / (np.pi * mean_radius**2)) + 8
    ys, xs = rng.uniform(0, height, n_tries), rng.uniform(0, width, n_tries)
    keep = rng.uniform(0, 0.6, n_tries) < density[ys.astype(int), xs.astype(int)]
    radii = np.clip(rng.lognormal(np.log(mean_radius), 0.22, n_tries), 3.5, 12.0)
    cell = 24.0
    grid: dict[tuple[int, int], list[int]] = {}
    taken: list[int] = []
    for i in np.flatnonzero(keep).tolist():
        gy, gx = int(ys[i] // cell), int(xs[i] // cell)
        near = [j for a in (-1, 0, 1) for b in (-1, 0, 1) for j in grid.get((gy + a, gx + b), ())]
        if all(np.hypot(ys[i] - ys[j], xs[i] - xs[j]) > 0.88 * (radii[i] + radii[j]) for j in near):
            grid.setdefault((gy, gx), []).append(i)
            taken.append(i)
    return radii[taken], np.stack([ys[taken], xs[taken]], axis=1)


def _outlines(rng: np.random.Generator, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Star-convex outlines (n, 32, 2) of (y, x): ellipses with low-frequency bumps, 32 rays per nucleus."""
    n = len(centres)
    angle = np.linspace(0, 2 * np.pi, N_RAYS, endpoint=False)[None]
    tilt, stretch = rng.uniform(0, np.pi, (n, 1)), rng.uniform(1.0, 1.7, (n, 1))
    a, b = np.sqrt(stretch), 1 / np.sqrt(stretch)
    r = 1 / np.hypot(np.cos(angle - tilt) / a, np.sin(angle - tilt) / b)
    for k in (2, 3, 4):
        r = r * (1 + rng.normal(0, 0.09 / k, (n, 1)) * np.cos(k * angle + rng.uniform(0, 2 * np.pi, (n, 1))))
    r = r * radii[:, None]
    return np.stack([centres[:, :1] + r * np.sin(angle), centres[:, 1:] + r * np.cos(angle)], axis=-1)


def _draw_classes(
    rng: np.random.Generator, density: np.ndarray, centres: np.ndarray, *, inflammation: float, rare: float
) -> np.ndarray:
    """Draw classes at random: immune cells are in the infiltrates, and some classes are absent from the field."""
    n = len(centres)
    inside = density[tuple(centres.astype(int).T)] / density.max()
    classes = np.full(n, "other", dtype=object)
    for name, share in _SHARE.items():
        if rng.random() > PREVALENCE[name] * (0.6 + 0.8 * inflammation):
            continue
        n_wanted = max(4, int(rare * share * n))
        free = np.flatnonzero(classes == "other")
        if not len(free):  # a tiny field
            break
        weight = inside[free] ** 2 + 1e-3
        classes[rng.choice(free, min(n_wanted, len(free)), replace=False, p=weight / weight.sum())] = name
    return classes


def _draw_markers(rng: np.random.Generator, classes: np.ndarray, rules: Rules) -> pd.DataFrame:
    """Draw markers: those in the rule of the class follow it, the others are random if they keep the class."""
    drawn = pd.DataFrame({marker: rng.random(len(classes)) < chance for marker, chance in _CHANCE.items()})
    for name, markers in rules.classes.items():
        for marker, sign in markers.items():
            drawn.loc[classes == name, marker] = sign
    is_wrong = rules.classify(drawn).to_numpy() != classes
    drawn.loc[is_wrong & (classes == "other"), :] = False  # a cell without a positive marker is in the class "other"
    return drawn
