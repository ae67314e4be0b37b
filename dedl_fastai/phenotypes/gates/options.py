"""`GateOptions`: how cut-offs are determined. Imports only the standard library."""

from dataclasses import dataclass

from ...errors import UserError

METHODS = ("mixture", "otsu", "quantile")
PER = ("cohort", "slide", "patient")
SHIFTS = ("none", "mean", "mode")


@dataclass(frozen=True)
class GateOptions:
    """How cut-offs are determined, and of which cells. Raises `UserError` for unknown names."""

    method: str = "mixture"  # mixture: of Gaussians; otsu; quantile: of a negative control
    per: str = "cohort"  # one cut-off for all cells, or one for each slide or patient
    shift: str = "none"  # divide the intensities by the mean or the mode of their slide
    quantile: float = 0.99  # share of the cells of the negative control below the cut-off

    def __post_init__(self):
        for name, known in (("method", METHODS), ("per", PER), ("shift", SHIFTS)):
            if getattr(self, name) not in known:
                raise UserError(f"{name}={getattr(self, name)!r} is unknown; it may be {', '.join(known)}.")
        if not 0 < self.quantile < 1:
            raise UserError(f"quantile={self.quantile:g}: give a share of the cells between 0 and 1, such as 0.99.")
        if self.shift != "none" and self.per == "slide":
            raise UserError(
                f"shift={self.shift} makes slides comparable, and per=slide has a cut-off for each: give one of them."
            )
