"""`load_run`: the trained model of a run folder, ready to predict."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastcore.basics import patch

from ..errors import UserError
from ..models.device import pick_device
from ..models.names import NUCLEI
from ..training.run_folder import RunFolder
from ..training.stored_network import StoredNetwork
from .cells_classifier import CellsClassifier
from .classifier import Classifier
from .engines.engine import CONVERTED
from .options import OVERLAP
from .segmenter import Segmenter


def load_run(
    path: str | Path,
    which: str = "best",  # best, last, swa
    device: str = "auto",
    overlap: float | None = None,  # this and the options below are for a `Segmenter`; None: the run's own overlap
    bs: int = Segmenter.bs,
    engine: str = Segmenter.engine,
    amp: str = Segmenter.amp,
    channels_last: bool | None = Segmenter.channels_last,
    tta: str = Segmenter.tta,
) -> Segmenter | Classifier:
    """Load the model of a run folder as a `Segmenter` or `Classifier`; "nuclei" is the one that comes with the package.

    Raises `UserError` if it is not a run folder.
    """
    run = RunFolder.existing(path)
    stored = StoredNetwork.of(run, which)
    card = stored.card
    if card["task"] == "segmentation":
        overlap = own_overlap([path]) if overlap is None else overlap
        segmenter = Segmenter(
            stored,
            card,
            run,
            device=pick_device(device),
            overlap=overlap,
            bs=bs,
            engine=engine,
            amp=amp,
            channels_last=channels_last,
            tta=tta,
        )
        if engine not in CONVERTED:
            segmenter.network  # noqa: B018 - loads the weights now, so that damaged files are reported here
        return segmenter
    if "cells" in card:
        return CellsClassifier(stored(), card, run, pick_device(device), load=partial(load_segmenter, device=device))
    return Classifier(stored(), card, run, pick_device(device))


def load_segmenter(
    path: str | Path, which: str = "best", device: str = "auto", overlap: float | None = None, **how: Any
) -> Segmenter:
    """Load the model of a segmentation run. Raises `UserError` for a classification run."""
    model = load_run(path, which, device, overlap, **how)
    if not isinstance(model, Segmenter):
        raise UserError(f"{path} is a classification run: a segmentation run is needed.")
    return model


@patch(cls_method=True)
def nuclei(cls: Segmenter, **how: Any) -> Segmenter:
    """The model of nuclei that comes with the package; `how` are the options of `load_run`."""
    return load_segmenter(NUCLEI, **how)


def load_classifier(path: str | Path, which: str = "best", device: str = "auto") -> Classifier:
    """Load the model of a classification run. Raises `UserError` for a segmentation run."""
    model = load_run(path, which, device)
    if not isinstance(model, Classifier):
        raise UserError(f"{path} is a segmentation run: a classification run is needed.")
    return model


def own_overlap(paths: Sequence[str | Path]) -> float:
    """The largest tile overlap in the options of these runs, where a run without options has the default."""
    runs = [RunFolder.existing(p) for p in paths]
    options = [run.read("config") if run.is_started else {} for run in runs]  # a model without options can predict too
    return max(o.get("overlap", OVERLAP) for o in options)
