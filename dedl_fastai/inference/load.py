"""`load_run`: the trained model in a run folder, ready to predict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
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


def load_segmenter(
    path: str | Path, which: str = "best", device: str = "auto", overlap: float | None = None, **how: Any
) -> Segmenter:
    """The `load_run` of a segmentation run. Raises `UserError` for a classification run."""
    model = load_run(path, which, device, overlap, **how)
    if not isinstance(model, Segmenter):
        raise UserError(f"{path} is a classification run: a segmentation run is needed.")
    return model


def load_classifier(path: str | Path, which: str = "best", device: str = "auto") -> Classifier:
    """The `load_run` of a classification run. Raises `UserError` for a segmentation run."""
    model = load_run(path, which, device)
    if not isinstance(model, Classifier):
        raise UserError(f"{path} is a segmentation run: a classification run is needed.")
    return model


def own_overlap(paths: Sequence[str | Path]) -> float:
    """The largest tile overlap in the options of these runs, with the default for a run that has none."""
    runs = [RunFolder.existing(p) for p in paths]
    options = [run.read("config") if run.is_started else {} for run in runs]  # a bare model can predict too
    return max(o.get("overlap", OVERLAP) for o in options)
