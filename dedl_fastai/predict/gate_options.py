"""Options of the command `gate`. Imports only the standard library, so that --help is fast."""

from dataclasses import dataclass
from typing import ClassVar

from ..phenotypes.gates.options import METHODS, PER, SHIFTS, GateOptions
from ..runs.options.base import Options, option

CUTS, FILES = "Cut-offs", "Input and output files"


@dataclass(frozen=True)
class GateCommand(Options):
    """How cut-offs are determined, of which markers, and what is done with them. `UserError` for unknown names."""

    topics: ClassVar[tuple[str, ...]] = (CUTS, FILES)

    method: str = option(
        METHODS[0],
        f"{', '.join(METHODS)}: of Gaussians on logarithms, Otsu's on logarithms, or a quantile of --control.",
        CUTS,
    )
    per: str = option(PER[0], f"One cut-off per marker for each {', '.join(PER)}.", CUTS)
    shift: str = option(
        SHIFTS[0],
        f"Make slides comparable, by dividing intensities by the slide's mean or mode: {', '.join(SHIFTS)}.",
        CUTS,
    )
    given: str = option("", "Cut-offs by hand, as CD19=1.2,CD4=3; CD4=3/8 for dim and bright cells.", CUTS, flag="set")
    control: str = option("", "Results or cell table of a negative control, for --method quantile.", CUTS)
    quantile: float = option(0.99, "Share of the control's cells below the cut-off.", CUTS)
    markers: str = option("", "Markers, separated by commas (default: those of --rules, else all).", FILES)
    rules: str = option(
        "", "Phenotype rules: their markers, dim and bright ones included. tfh5, vanburen3, or a FILE.", FILES
    )
    patient: str = option("", "Regular expression that finds the patient in a field's name.", FILES)
    apply: bool = option(
        False,
        "Also change the types of the cells in RESULTS, which then hold --out too; nothing is predicted again.",
        FILES,
    )
    out: str = option("gates.json", "File of the cut-offs; the page is next to it, ending with .html.", FILES)

    def __post_init__(self):
        super().__post_init__()
        _ = self.how  # it checks the names

    @property
    def how(self) -> GateOptions:
        """How cut-offs are determined."""
        return GateOptions(self.method, self.per, self.shift, self.quantile)

    @property
    def marker_list(self) -> list[str]:
        """The markers that are asked for."""
        return [m.strip() for m in self.markers.split(",") if m.strip()]
