"""The settings that results depend on, as stored in their records, and the ensemble that predicts them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..io.files import existing_file
from ..phenotypes.rules import Rules
from ..training.run_folder import RunFolder
from .options import CellOptions, ModelOptions

if TYPE_CHECKING:  # torch takes seconds to import, and commands that read results do without it
    from ..inference.ensemble import Ensemble

_OF_FOLDER = "one per marker, from all fields"  # the gates.json of the results
_SIGNS = {True: "+", False: "-"}


def load_ensemble(runs: Sequence[str | Path], model: ModelOptions) -> "Ensemble":
    """Load the runs as one model and create its engines, so that problems appear before any field is read."""
    from ..inference.ensemble import Ensemble

    ensemble = Ensemble.load(runs, **asdict(model))
    for member in ensemble.members:
        member.network  # noqa: B018 (created on first access)
    return ensemble


def result_settings(runs: Sequence[str | Path], options: CellOptions, model: ModelOptions) -> dict[str, Any]:
    """Return what the results depend on: all fields in one folder have the same settings."""
    from ..inference.load import own_overlap

    settings = {
        "runs": [run_name(run, model.which) for run in runs],
        "channel": options.channel,
        "tta": model.tta,
        "overlap": own_overlap(runs) if model.overlap is None else model.overlap,
        "min_area_um2": options.min_area_um2,
        "part_by": options.part_by,
        "scale": options.scale,
        "scale_per": options.scale_per,
        "pixel_size_um": options.pixel_size_um,
        "ring_um": options.ring_um,
        "rules": _lines(options.rule_set),
        "thresholds": options.markers_above,
        "gates": _gates_name(options),
        "cell_types": run_name(options.cell_types, "best") if options.cell_types else "",
        "min_confidence": options.min_confidence,
    }
    return settings | ({"radius_um": options.radius_um} if "neighbours" in options.kinds else {})


def retyped_settings(settings: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """The settings of results whose cells have got other types, by rules and the gates.json of their folder."""
    by_gates: dict[str, Any] = {
        "rules": _lines(rules),
        "thresholds": {},
        "gates": _OF_FOLDER,
        "cell_types": "",
        "min_confidence": None,
    }
    return {**settings, **by_gates}


def provenance(model: ModelOptions) -> dict[str, Any]:
    """Return version, engine and precision, which are recorded although results should not depend on them."""
    return {"dedl_fastai": __version__, "engine": model.engine, "amp": model.amp}


def _gates_name(options: CellOptions) -> str:
    """Return the given file of gates with a hash of its content, or that they are made from all fields."""
    if options.gates:
        path = existing_file(options.gates)
        return f"{path.name} ({hashlib.sha256(path.read_bytes()).hexdigest()[:8]})"
    return _OF_FOLDER if options.rules else ""


def _lines(rules: Rules | None) -> list[str]:
    """The rules, one for each class."""
    classes = rules.classes.items() if rules else ()
    return [f"{name} = {' '.join(f'{m}{_SIGNS[sign]}' for m, sign in terms.items())}" for name, terms in classes]


def run_name(run: str | Path, which: str) -> str:
    """Return the run folder's name and a hash of its weights, which changes when the run is trained again."""
    folder = RunFolder.existing(run)
    weights = folder.path / f"{which}.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:8] if weights.is_file() else "none"
    return f"{folder.path.name} ({which}, {digest})"
