"""`load_run`: the trained model in a run folder, ready to predict."""

from pathlib import Path
from typing import Any

from ..models.device import pick_device
from ..training.model_card import load_model
from ..training.run_folder import RunFolder
from .classifier import Classifier
from .segmenter import Segmenter


def load_run(
    path: str | Path,
    which: str = "best",  # best, last, swa
    device: str = "auto",
    overlap: float = 0.25,  # of the tiles of a segmentation
    **how: Any,  # of a segmentation: bs, engine, amp, channels_last, tta of `Segmenter`
) -> Segmenter | Classifier:
    """The trained model in a run folder, a `Segmenter` or a `Classifier`. `UserError` for what is no run folder."""
    run = RunFolder.existing(path)
    model, card = load_model(run, which)
    if card["task"] == "segmentation":
        return Segmenter(model, card, run, pick_device(device), overlap, **how)
    return Classifier(model, card, run, pick_device(device))
