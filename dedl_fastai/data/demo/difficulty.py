"""What makes a synthetic cohort hard: dim and rare cells, autofluorescence, spill-over, gains of slides; crowding."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ...errors import UserError
from .cells import Cells


@dataclass(frozen=True)
class Haze:
    """How clearly nuclei are seen."""

    brightness_sd: float = 0.5  # standard deviation of the logarithm of the nuclei's brightness
    below: float = 0.55  # nuclei below the focal plane for each nucleus in it


USUAL_HAZE = Haze()


@dataclass(frozen=True)
class Difficulty:
    """How far the markers of a cohort are from ideal ones, and how densely its nuclei are packed."""

    rare: float = 1.0  # factor of the share of immune cells
    dim: float = 0.0  # share of the positive cells that are dim
    dim_level: float = 0.4  # their brightness, as a factor
    autofluorescent: float = 0.0  # share of the cells that are bright in every channel, and negative
    spill: float = 0.0  # share of a channel's signal that the next channel of the spectrum receives; the last one: half
    gain_sd: float = 0.0  # standard deviation over slides of the logarithm of each channel's gain
    crowding: float = 0.0  # how far infiltrates grow and fill with nuclei, 0 to 1
    haze: Haze = USUAL_HAZE
    prefix: str = "Myo"  # of the patients' names
    ids: bool = False  # masks hold the ids of the nuclei; otherwise they are binary, as Van Buren's

    @property
    def has_flaws(self) -> bool:
        """Whether the markers have any of these flaws."""
        return any((self.dim, self.autofluorescent, self.spill, self.gain_sd))


DIFFICULTIES = {
    "easy": Difficulty(),
    "hard": Difficulty(rare=0.6, dim=0.3, autofluorescent=0.04, spill=0.1, gain_sd=0.3),
    "packed": Difficulty(crowding=1.0, haze=Haze(brightness_sd=0.3, below=0.2), prefix="Syn", ids=True),
}


@dataclass(frozen=True)
class Flaws:
    """The flaws of one field: brightness of each cell's markers, autofluorescent cells, spill-over and gains."""

    strength: pd.DataFrame  # (cells, markers), factor of the brightness
    autofluorescence: np.ndarray  # (cells,), signal in every channel
    spill: float
    gains: Mapping[str, float]  # marker -> factor of its channel


def difficulty_of(name: str) -> Difficulty:
    """The difficulty of a name. Raises `UserError` for an unknown one."""
    if name not in DIFFICULTIES:
        raise UserError(f"difficulty={name!r} is unknown; it may be {', '.join(DIFFICULTIES)}.")
    return DIFFICULTIES[name]


def draw_flaws(
    cells: Cells, difficulty: Difficulty, field_rng: np.random.Generator, slide_rng: np.random.Generator
) -> tuple[Cells, Flaws | None]:
    """Draw the flaws of a field, and return its cells with autofluorescent ones among those without a class.

    Nothing is drawn from the random stream of the cells, so that an easy cohort does not depend on this module.
    """
    if not difficulty.has_flaws:
        return cells, None
    n, markers = len(cells.centres), cells.positive.columns
    bright = (field_rng.random(n) < difficulty.autofluorescent) & (cells.classes == "other")
    is_dim = field_rng.random((n, len(markers))) < difficulty.dim
    flaws = Flaws(
        strength=pd.DataFrame(np.where(is_dim & cells.positive, difficulty.dim_level, 1.0), columns=markers),
        autofluorescence=np.where(bright, field_rng.lognormal(np.log(5), 0.3, n), 0.0),
        spill=difficulty.spill,
        gains={m: float(np.exp(slide_rng.normal(0, difficulty.gain_sd))) for m in markers},
    )
    positive = cells.positive.copy()
    positive.loc[bright] = False
    return replace(cells, positive=positive), flaws


def with_spill_and_gain(planes: dict[str, np.ndarray], flaws: Flaws) -> dict[str, np.ndarray]:
    """The planes of the markers, in the order of the spectrum, with signal of their neighbours and the slide's gain."""
    names = list(planes)
    mixed = {}
    for i, name in enumerate(names):
        plane = planes[name].copy()
        plane += flaws.spill * planes[names[i - 1]] if i > 0 else 0.0
        plane += flaws.spill / 2 * planes[names[i + 1]] if i + 1 < len(names) else 0.0
        mixed[name] = (plane * flaws.gains[name.split(" ")[0]]).astype(np.float32)
    return mixed
