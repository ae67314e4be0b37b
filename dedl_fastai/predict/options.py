"""The options of a segmentation's predictions, and what of them the results depend on."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import __version__
from ..cells.options import NucleiOptions
from ..data.pixels import parse_channels
from ..errors import UserError
from ..inference.ensemble import Ensemble
from ..inference.load import own_overlap
from ..inference.window import TTA
from ..phenotypes.classify import parse_thresholds
from ..phenotypes.rules import Rules
from ..training.run_folder import RunFolder
from .kinds import parse_kinds


@dataclass(frozen=True)
class ModelOptions:
    """How the networks run."""

    which: str = "best"
    device: str = "auto"
    engine: str = "torch"
    amp: str = "no"
    channels_last: bool = False
    tta: str = "none"
    bs: int = 8
    overlap: float | None = None  # share of a tile that its neighbour covers too; None: as `own_overlap` says

    def __post_init__(self):
        if self.tta not in TTA:
            raise UserError(f"--tta {self.tta!r} is unknown; it may be {', '.join(TTA)}.")
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise UserError(f"--overlap {self.overlap:g}: it is a share of a tile, from 0 to below 1.")
        if self.bs < 1:
            raise UserError(f"--bs {self.bs}: at least one tile goes through the network at a time.")

    def load(self, runs: Sequence[str | Path]) -> Ensemble:
        """The runs as one model, its engines made: what they lack is said before any field is read."""
        ensemble = Ensemble.load(runs, **asdict(self))
        for member in ensemble.members:
            member.network  # noqa: B018 (made when it is first asked for)
        return ensemble


@dataclass(frozen=True)
class CellOptions:
    """What is written for each field, and how cells are found and measured. `UserError` for what does not go."""

    write: str = "mask,labels,cells,geojson"
    rules: str = ""  # phenotype rules; "": cells get no class
    thresholds: str = ""  # marker=intensity, with commas between; "": Otsu's over the cells of a field
    ring_um: float = 2.0
    radius_um: float = 30.0  # of neighbourhoods
    min_area_um2: float = 10.0
    part_by: str = "distance"
    channel: str = ""  # what the model's channels are called in these files, if not as in training
    pixel_size_um: float = 0  # of files that do not say theirs; 0: none, their areas are in pixels
    overwrite: bool = False

    def __post_init__(self):
        for flag, value in (("--ring", self.ring_um + 1), ("--radius", self.radius_um)):
            if not value > 0:
                raise UserError(f"{flag}: a width cannot be below 0, and a radius has to be above.")
        if self.pixel_size_um < 0:
            raise UserError(f"--pixel-size {self.pixel_size_um:g}: it is the edge of a pixel in um.")
        _ = self.nuclei, self.markers_above, self.rule_set, self.kinds  # each checks what it is made of
        if self.markers_above and not self.rules:
            raise UserError("--thresholds are for the markers of --rules: give them.")

    @property
    def kinds(self) -> list[str]:
        """What is written."""
        return parse_kinds(self.write, bool(self.rules))

    @property
    def channels(self) -> list[str]:
        """The channels' names in the files, or none."""
        return parse_channels(self.channel) if self.channel else []

    @property
    def nuclei(self) -> NucleiOptions:
        """How nuclei are parted and which of them stay."""
        return NucleiOptions(min_area_um2=self.min_area_um2, part_by=self.part_by)

    @property
    def markers_above(self) -> dict[str, float]:
        """Intensities above which markers are positive, where they are given."""
        return parse_thresholds(self.thresholds)

    @cached_property
    def rule_set(self) -> Rules | None:
        """The rules that tell phenotypes."""
        return Rules.load(self.rules) if self.rules else None


def settings_of(runs: Sequence[str | Path], options: CellOptions, model: ModelOptions) -> dict[str, Any]:
    """What the results depend on: fields of other settings do not go into one folder."""
    rules = options.rule_set.classes.items() if options.rule_set else ()
    found = {
        "runs": [_run_name(run, model.which) for run in runs],
        "channel": options.channel,
        "tta": model.tta,
        "overlap": own_overlap(runs) if model.overlap is None else model.overlap,
        "min_area_um2": options.min_area_um2,
        "part_by": options.part_by,
        "pixel_size_um": options.pixel_size_um,
        "ring_um": options.ring_um,
        "rules": [f"{name} = {_signs(markers)}" for name, markers in rules],
        "thresholds": options.markers_above,
    }
    return found | ({"radius_um": options.radius_um} if "neighbours" in options.kinds else {})


def made_with(model: ModelOptions) -> dict[str, Any]:
    """What the results should not depend on, for the record."""
    return {"dedl_fastai": __version__, "engine": model.engine, "amp": model.amp}


def _signs(markers: dict[str, bool]) -> str:
    return " ".join(f"{m}{'+' if sign else '-'}" for m, sign in markers.items())


def _run_name(run: str | Path, which: str) -> str:
    """The run folder's name, and enough of the weights' hash to tell a run trained again from the one before."""
    folder = RunFolder.existing(run)
    weights = folder.path / f"{which}.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:8] if weights.is_file() else "none"
    return f"{folder.path.name} ({which}, {digest})"
