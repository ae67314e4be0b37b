"""The settings that results depend on, which are recorded with them, and the model that makes them."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import __version__
from ..inference.ensemble import Ensemble
from ..inference.load import own_overlap
from ..training.run_folder import RunFolder
from .options import CellOptions, ModelOptions


def load_ensemble(runs: Sequence[str | Path], model: ModelOptions) -> Ensemble:
    """The runs as one model with its engines made, so that what they lack is reported before any field is read."""
    ensemble = Ensemble.load(runs, **asdict(model))
    for member in ensemble.members:
        member.network  # noqa: B018 (made when it is first asked for)
    return ensemble


def result_settings(runs: Sequence[str | Path], options: CellOptions, model: ModelOptions) -> dict[str, Any]:
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


def provenance(model: ModelOptions) -> dict[str, Any]:
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
