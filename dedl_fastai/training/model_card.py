"""model.json: the facts that rebuild a run's network and prepare its inputs."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..data.classification.items import ClfFacts
from ..data.scaling import PercentileScaling
from ..data.segmentation.facts import SegFacts
from ..errors import UserError
from .run_folder import RunFolder

if TYPE_CHECKING:  # the libraries of networks take seconds to import, and a card is read without them
    from ..models.cell_bags import BagsSpec
    from ..models.classification import ClfSpec
    from ..models.segmentation import SegSpec

FORMAT = 1
TASKS = ("segmentation", "classification", "cells")
_MAX_TILE = 8192  # pixels; a batch of larger tiles fits no memory
WEIGHT_FILES = ("best", "last", "swa")


def seg_model_card(
    spec: "SegSpec",
    facts: SegFacts,
    threshold: float | None = None,
    nuclei: dict[str, float] | None = None,  # how nuclei are found in the maps of a head, as tuned
) -> dict[str, Any]:
    """Return the contents of a segmentation run's model.json."""
    return {
        **_head("segmentation", spec),
        "channels": list(facts.channels),
        "scaling": facts.scaling.to_dict(),
        "mean": list(facts.mean),
        "std": list(facts.std),
        "tile": facts.tile,
        "foreground": facts.foreground,
        "pixel_size_um": facts.pixel_size_um,
        "nucleus_px": facts.nucleus_px,
        "classes": list(facts.classes),
        "threshold": threshold,
        **({"nuclei": nuclei} if nuclei else {}),
    }


def clf_model_card(
    spec: "ClfSpec | BagsSpec", facts: ClfFacts, thresholds: list[float] | None = None
) -> dict[str, Any]:
    """Return the contents of a classification run's model.json."""
    data = {**asdict(facts), "scaling": facts.scaling.to_dict()}
    return {**_head("classification", spec), "data": data, "classes": list(facts.vocab), "thresholds": thresholds}


def _head(task: str, spec: "SegSpec | ClfSpec | BagsSpec") -> dict[str, Any]:
    return {"format": FORMAT, "task": task, "dedl_fastai": __version__, "network": spec.to_dict()}


def seg_facts_from_card(card: dict[str, Any]) -> SegFacts:
    """Return the facts about the data in a segmentation run's model.json."""
    return SegFacts(
        channels=tuple(card["channels"]),
        scaling=PercentileScaling.from_dict(card["scaling"]),
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
        tile=card["tile"],
        foreground=card["foreground"],
        pixel_size_um=card.get("pixel_size_um"),  # earlier versions did not store them
        nucleus_px=card.get("nucleus_px"),
        classes=tuple(card["classes"]),
    )


def clf_facts_from_card(card: dict[str, Any]) -> ClfFacts:
    """Return the facts about the data in a classification run's model.json."""
    data: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in card["data"].items()}
    data["scaling"] = PercentileScaling.from_dict(data["scaling"])
    return ClfFacts(**data)  # written by `asdict`


def read_card(run: RunFolder) -> dict[str, Any]:
    """Read a run's model.json; `UserError` if another version or program wrote it."""
    card = run.read("model")
    if card.get("format") != FORMAT or card.get("task") not in TASKS:
        raise UserError(
            f"{run.path} has a {card.get('task')} model of format {card.get('format')}, which this version cannot read."
        )
    for name, fits in _FITTING.items():
        if card.get(name) is not None and not fits(card[name]):
            raise UserError(f"{run.path / 'model.json'} is damaged: {name} is {card[name]!r}. Restore it.")
    return card


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


_FITTING: dict[str, Callable[[Any], bool]] = {  # what would take all memory, or find no nucleus at all
    "tile": lambda value: isinstance(value, int) and 0 < value <= _MAX_TILE,
    "threshold": _is_share,
    "thresholds": lambda value: isinstance(value, dict) or (isinstance(value, list) and all(map(_is_share, value))),
    "channels": lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value),
    "network": lambda value: isinstance(value, dict),
    "scaling": lambda value: isinstance(value, dict),
    "nuclei": lambda value: isinstance(value, dict),
}


def with_thresholds_of(card: dict[str, Any], which: str) -> dict[str, Any]:
    """Return the card with the threshold that was tuned for these weights; that of the best where none was."""
    for name in ("threshold", "thresholds"):
        if which in card.get(f"{name}_of_weights", {}):
            card = {**card, name: card[f"{name}_of_weights"][which]}
    return card
