"""model.json: enough to rebuild a run's network and to feed it; and the network itself, with its saved weights."""

from dataclasses import asdict
from typing import Any

from torch import nn

from .. import __version__
from ..data.classification.items import ClfFacts
from ..data.scaling import PercentileScaling
from ..data.segmentation.block import SegFacts
from ..errors import UserError
from ..models.classification import ClfSpec, create_clf_model
from ..models.segmentation import SegSpec, create_seg_model
from ..models.weights import read_tensors
from .run_folder import RunFolder

FORMAT = 1
WEIGHT_FILES = ("best", "last", "swa")


def seg_model_card(spec: SegSpec, facts: SegFacts, threshold: float | None = None) -> dict[str, Any]:
    """What a segmentation run's model.json holds."""
    return {
        **_head("segmentation", spec),
        "channels": list(facts.channels),
        "scaling": facts.scaling.to_dict(),
        "mean": list(facts.mean),
        "std": list(facts.std),
        "tile": facts.tile,
        "foreground": facts.foreground,
        "classes": list(facts.classes),
        "threshold": threshold,
    }


def clf_model_card(spec: ClfSpec, facts: ClfFacts, thresholds: list[float] | None = None) -> dict[str, Any]:
    """What a classification run's model.json holds."""
    data = {**asdict(facts), "scaling": facts.scaling.to_dict()}
    return {**_head("classification", spec), "data": data, "classes": list(facts.vocab), "thresholds": thresholds}


def _head(task: str, spec: SegSpec | ClfSpec) -> dict[str, Any]:
    return {"format": FORMAT, "task": task, "dedl_fastai": __version__, "network": spec.to_dict()}


def seg_facts_from_card(card: dict[str, Any]) -> SegFacts:
    """The data facts in a segmentation model.json."""
    return SegFacts(
        tuple(card["channels"]),
        PercentileScaling.from_dict(card["scaling"]),
        tuple(card["mean"]),
        tuple(card["std"]),
        card["tile"],
        card["foreground"],
        tuple(card["classes"]),
    )


def clf_facts_from_card(card: dict[str, Any]) -> ClfFacts:
    """The data facts in a classification model.json."""
    data = {k: tuple(v) if isinstance(v, list) else v for k, v in card["data"].items()}
    return ClfFacts(**{**data, "scaling": PercentileScaling.from_dict(data["scaling"])})


def read_card(run: RunFolder) -> dict[str, Any]:
    """A run's model.json; `UserError` if another version or program wrote it."""
    card = run.read("model")
    if card.get("format") != FORMAT or card.get("task") not in ("segmentation", "classification"):
        raise UserError(f"{run.path} holds a {card.get('task')} model of format {card.get('format')}: not for this.")
    return card


def _with_thresholds_of(card: dict[str, Any], which: str) -> dict[str, Any]:
    """The card with the threshold that was tuned for these weights; that of the best where none was."""
    for name in ("threshold", "thresholds"):
        if which in card.get(f"{name}_of_weights", {}):
            card = {**card, name: card[f"{name}_of_weights"][which]}
    return card


def load_model(run: RunFolder, which: str = "best") -> tuple[nn.Module, dict[str, Any]]:
    """The network of a run in eval mode with its best, last or swa weights, and its model.json."""
    card = _with_thresholds_of(read_card(run), which)
    file = run.path / f"{which}.safetensors"
    if which not in WEIGHT_FILES or not file.is_file():
        there = [w for w in WEIGHT_FILES if (run.path / f"{w}.safetensors").is_file()]
        raise UserError(f"{run.path} has no weights {which!r}: it has {', '.join(there) or 'none'}.")
    if card["task"] == "segmentation":
        model = create_seg_model(SegSpec.from_dict(card["network"]), "none", card["tile"])
    else:
        model = create_clf_model(ClfSpec.from_dict(card["network"]), "none")
    try:
        model.load_state_dict(read_tensors(file))
    except RuntimeError as e:
        raise UserError(f"{file} does not fit model.json beside it: the folder was mixed up.") from e
    return model.eval(), card
