"""The settings that results depend on, as stored in their records, and the ensemble that predicts them."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import __version__
from ..inference.ensemble import Ensemble
from ..inference.load import own_overlap
from ..io.files import existing_file
from ..training.run_folder import RunFolder
from .options import CellOptions, ModelOptions


def load_ensemble(runs: Sequence[str | Path], model: ModelOptions) -> Ensemble:
    """Load the runs as one model and create its engines, so that problems appear before any field is read."""
    ensemble = Ensemble.load(runs, **asdict(model))
    for member in ensemble.members:
        member.network  # noqa: B018 (created on first access)
    return ensemble


def result_settings(runs: Sequence[str | Path], options: CellOptions, model: ModelOptions) -> dict[str, Any]:
    """Return what the results depend on: all fields in one folder have the same settings."""
    rules = options.rule_set.classes.items() if options.rule_set else ()
    settings = {
        "runs": [_run_name(run, model.which) for run in runs],
        "channel": options.channel,
        "tta": model.tta,
        "overlap": own_overlap(runs) if model.overlap is None else model.overlap,
        "min_area_um2": options.min_area_um2,
        "part_by": options.part_by,
        "scale": options.scale,
        "scale_per": options.scale_per,
        "pixel_size_um": options.pixel_size_um,
        "ring_um": options.ring_um,
        "rules": [f"{name} = {_signs(markers)}" for name, markers in rules],
        "thresholds": options.markers_above,
        "gates": _gates_name(options),
        "cell_types": _run_name(options.cell_types, "best") if options.cell_types else "",
        "min_confidence": options.min_confidence,
    }
    return settings | ({"radius_um": options.radius_um} if "neighbours" in options.kinds else {})


def provenance(model: ModelOptions) -> dict[str, Any]:
    """Return version, engine and precision, which are recorded although results should not depend on them."""
    return {"dedl_fastai": __version__, "engine": model.engine, "amp": model.amp}


def _gates_name(options: CellOptions) -> str:
    """Return the given file of gates with a hash of its content, or that they are made from all fields."""
    if options.gates:
        path = existing_file(options.gates)
        return f"{path.name} ({hashlib.sha256(path.read_bytes()).hexdigest()[:8]})"
    return "one per marker, from all fields" if options.rules else ""


def _signs(markers: dict[str, bool]) -> str:
    return " ".join(f"{m}{'+' if sign else '-'}" for m, sign in markers.items())


def _run_name(run: str | Path, which: str) -> str:
    """Return the run folder's name and a hash of its weights, which changes when the run is trained again."""
    folder = RunFolder.existing(run)
    weights = folder.path / f"{which}.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:8] if weights.is_file() else "none"
    return f"{folder.path.name} ({which}, {digest})"
