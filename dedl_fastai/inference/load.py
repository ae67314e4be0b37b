"""`load_run`: the trained model in a run folder, ready to predict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..models.device import pick_device
from ..training.model_card import load_model
from ..training.run_folder import RunFolder
from .classifier import Classifier
from .options import OVERLAP
from .segmenter import Segmenter


def load_run(
    path: str | Path,
    which: str = "best",  # best, last, swa
    device: str = "auto",
    overlap: float | None = None,  # of the tiles of a segmentation; None: the run's own
    **how: Any,  # of a segmentation: bs, engine, amp, channels_last, tta of `Segmenter`
) -> Segmenter | Classifier:
    """The trained model in a run folder, a `Segmenter` or a `Classifier`. `UserError` for what is no run folder."""
    run = RunFolder.existing(path)
    model, card = load_model(run, which)
    if card["task"] == "segmentation":
        overlap = own_overlap([path]) if overlap is None else overlap
        return Segmenter(model, card, run, pick_device(device), overlap, **how)
    return Classifier(model, card, run, pick_device(device))


def own_overlap(paths: Sequence[str | Path]) -> float:
    """The largest tile overlap in the options of these runs, with the default for a run that has none."""
    runs = [RunFolder.existing(p) for p in paths]
    options = [run.read("config") if run.is_started else {} for run in runs]  # a bare model can predict too
    return max(o.get("overlap", OVERLAP) for o in options)
