"""`pack_run`: a small copy of a run folder that predicts as the run does, to give to others."""

from pathlib import Path
from typing import Any

from torch import nn

from ..inference.engines.light import FILE as OPERATORS
from ..inference.engines.light import written_operators
from ..io.files import write_text, written_whole
from ..models.weights import write_tensors
from ..training.run_folder import RunFolder
from ..training.stored_network import load_model
from .readme import README, model_card

_BY_FIELD = ("fields", "per_patient")  # of metrics.json


def pack_run(
    path: str | Path,
    out: str | Path,  # folder; its other files, such as a README, are kept
    which: str = "best",  # best, last, swa: they become the best weights of the copy
) -> None:
    """Write a run folder with what prediction needs: weights in half precision, model.json, options and splits.

    The file operators.json holds how the network computes, so that predictions start sooner. The metrics are those
    pooled over the fields. Of the data, the copy has the folder's name and no path.
    """
    run, copy = RunFolder.existing(path), RunFolder.at(out)
    model, card = load_model(run, which)
    half = {n: v.half() if v.is_floating_point() else v for n, v in model.state_dict().items()}
    write_tensors(copy.path / "best.safetensors", half)
    copy.write("model", {k: v for k, v in card.items() if not k.endswith("_of_weights")})
    if card["task"] == "segmentation":
        _write_operators(copy.path / OPERATORS, model, card)
    if run.is_started:
        options = run.read("config")
        names = {"data": Path(options["data"]).name, "more_data": [], "train_only": []}
        copy.write("config", {**options, **names, "splits": ""})
        copy.write("splits", run.read("splits"))
    if run.is_complete:
        copy.write("metrics", _pooled(run.read("metrics")))
        if not (copy.path / README).exists():
            write_text(copy.path / README, model_card(run))


def _write_operators(path: Path, model: nn.Module, card: dict[str, Any]) -> None:
    """Write the operators of the network; not every network can be written so."""
    data = written_operators(model, card["network"], (card["network"]["in_channels"], card["tile"], card["tile"]))
    path.unlink(missing_ok=True)
    if data is not None:
        with written_whole(path) as tmp:
            tmp.write_bytes(data)


def _pooled(scores: Any) -> Any:
    if not isinstance(scores, dict):
        return scores
    return {name: _pooled(value) for name, value in scores.items() if name not in _BY_FIELD}
