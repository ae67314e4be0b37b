"""`Gate`: the cut-off of one marker, how separable its cells are, and why there is none."""

from dataclasses import dataclass

import numpy as np

from ..terms import Term
from .log_scale import LogScale
from .mixture import Mixture

_WELL, _PARTLY = 0.05, 0.2  # overlap of the two groups, up to which they count as well and as partly separated
HAND = "hand"
_SOURCES = {
    "mixture": "a mixture of Gaussians",
    "otsu": "Otsu's method on logarithms",
    "quantile": "a quantile of the negative control",
    HAND: "by hand",
}


@dataclass(frozen=True)
class Gate:
    """The cut-off of a marker: a cell is positive above it. `cut` is None where there is no gate, for a `reason`."""

    marker: str
    columns: tuple[str, ...]  # of intensities in the tables that it was determined from
    method: str  # mixture, otsu, quantile or hand
    cells: int = 0  # with an intensity
    tables: int = 1  # number of tables that the cells are from
    cut: float | None = None
    bright: float | None = None  # second cut-off, above which a positive cell is bright and not dim
    n_cuts: int = 1  # 2 if a second cut-off was asked for
    reason: str = ""
    positive: int = 0  # cells above the cut-off
    top: float = 0.0  # the largest intensity
    missing: int = 0  # cells without an intensity, which are not positive
    mixture: Mixture | None = None  # fitted to log(intensity + offset)
    offset: float = 1.0
    overlap: float | None = None  # of the groups below and above the cut; None if there is one group
    in_doubt: float | None = None  # share of the cells of which the group has a probability below 0.9

    @property
    def scale(self) -> LogScale:
        """The scale of the logarithms."""
        return LogScale(self.offset)

    @property
    def threshold(self) -> float | list[float]:
        """The cut-off as a given threshold: the largest intensity stands for one that there is none of."""
        cuts = [self.top if cut is None else cut for cut in (self.cut, self.bright)]
        return cuts[0] if self.n_cuts == 1 else cuts

    def levels(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Whether each cell is positive, and dim and bright if the gate has two cut-offs, by the name of the term."""
        is_positive = _above(values, self.cut)
        columns = {self.marker: is_positive}
        if self.n_cuts > 1:
            is_bright = _above(values, self.bright)
            columns[str(Term(self.marker, "bright"))] = is_bright
            columns[str(Term(self.marker, "dim"))] = is_positive & ~is_bright
        return columns

    @property
    def verdict(self) -> str:
        """How well positive and negative cells are separated, in a few words."""
        if self.cut is None:
            return "no gate"
        if self.overlap is None:
            return "no second group"
        if self.overlap <= _WELL:
            return "well separated"
        return "partly separated" if self.overlap <= _PARTLY else "poorly separated"

    @property
    def statement(self) -> str:
        """A sentence on the cut-off, where it comes from, and how far it can be trusted."""
        without = f" {self.missing} cells without a value are not positive." if self.missing else ""
        if self.cut is None:
            return (
                f"No gate: {self.reason}, so no cell counts as positive; give a cut-off by hand if some are.{without}"
            )
        parts = [f"Positive above {self.cut:.4g} ({_SOURCES[self.method]})"]
        if self.cells:
            parts.append(f"{self.positive} of {self.cells} cells ({self.positive / self.cells:.1%})")
        return f"{': '.join(parts)}.{self._bright_sentence()} {self._separation()}{without}".strip()

    def _bright_sentence(self) -> str:
        if self.n_cuts < 2:
            return ""
        if self.bright is None:
            return " There is no group of brighter cells among them, so none counts as bright."
        return f" Bright above {self.bright:.4g}."

    def _separation(self) -> str:
        if not self.cells:
            return ""
        if self.overlap is None:
            return "The cells form one group: nothing in the intensities supports this cut-off."
        share = f"the groups overlap by {self.overlap:.1%}, and {self.in_doubt:.1%} of the cells are in doubt"
        return f"{self.verdict[0].upper()}{self.verdict[1:]}: {share}."


def _above(values: np.ndarray, cut: float | None) -> np.ndarray:
    """Whether each value is above the cut-off; a cell without a value is not."""
    return np.zeros(len(values), bool) if cut is None else np.asarray(values, float) > cut
