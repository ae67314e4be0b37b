"""`export_run`: a trained network as a file that runs without this package, checked against PyTorch."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from ..data.cache import cache_cohort
from ..data.classification.items import tiles_of_file
from ..data.cohort import Cohort
from ..data.tiles import tiles_of
from ..errors import UserError
from ..extras import optional
from ..inference.classifier import Classifier
from ..inference.engines.portable import Foreground, exported_program, onnx_bytes
from ..inference.engines.runtimes import OnnxEngine
from ..inference.load import load_run
from ..inference.segmenter import Segmenter
from ..io.files import written_whole
from ..scores.agreement import Agreement

log = logging.getLogger(__name__)

FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
TOLERANCE = 1e-3  # of a probability
_N_FIELDS, _N_INPUTS = 4, 10  # of the check
_BATCHES = (4, 1, 5)  # any batch must do


@dataclass(frozen=True)
class Exported:
    """The file, what it was checked on, and how far it is from PyTorch."""

    path: Path
    checked_on: str
    n_inputs: int
    agreement: Agreement


def export_run(
    path: str | Path,
    format: str = "onnx",  # onnx, torch
    which: str = "best",  # best, last, swa
    out: str | Path = "",  # default: export/model.onnx or model.pt2 in the run
    data: str | Path = "",  # fields of the check; default: the run's own, or noise where they are gone
) -> Exported:
    """Write the network with its last step: normalised pixels (b, C, H, W) -> probability, any b.

    A segmentation gives the foreground (b, H, W), a classification its classes (b, K). What the file needs to be fed
    and read with (`export_metadata`) lies in it. Raises `UserError` if the file does not give what PyTorch gives.
    """
    _check_names(format, out)
    model = load_run(path, which, "cpu")
    source, inputs = example_inputs(model, data)
    network, shape = _network(model), inputs.shape[1:]
    program = exported_program(network, shape)
    metadata = export_metadata(model, which)
    target = Path(out) if out else model.run.path / "export" / FILES[format]
    with written_whole(target) as beside:
        run = _write_onnx(program, metadata, beside) if format == "onnx" else _write_torch(program, metadata, beside)
        agreement = _agreement(run, network, inputs, _threshold(model))
        if not agreement.max_difference <= TOLERANCE:  # nor NaN
            raise UserError(
                f"{target} was not written: its probabilities differ from PyTorch's by {agreement.max_difference:.2g} "
                f"({source}), more than {TOLERANCE:g}. Try the other `format`, and report it."
            )
    return Exported(target, source, len(inputs), agreement)


def _check_names(format: str, out: str | Path) -> None:
    if format not in FILES:
        raise UserError(f"format={format!r} is unknown; it may be {', '.join(FILES)}.")
    suffix = Path(FILES[format]).suffix
    if out and Path(out).suffix != suffix:
        raise UserError(f"out={out}: a file of format={format} ends in {suffix}.")


def export_metadata(model: Segmenter | Classifier, which: str = "best") -> dict[str, Any]:
    """What lies in the file beside the network: in an ONNX file JSON for each name, in a .pt2 file facts.json."""
    card, facts = model.card, model.facts
    is_seg = isinstance(model, Segmenter)
    return {
        "task": card["task"],
        "network": card["network"],
        "weights": which,
        "classes": card["classes"],
        "channels": facts.channels,
        "scaling": facts.scaling.to_dict(),
        "mean": facts.mean,
        "std": facts.std,
        **({"tile": facts.tile} if is_seg else {"input": facts.input, "size": facts.size, "tile": facts.tile}),
        **({"threshold": model.threshold} if is_seg else {"thresholds": model.thresholds.tolist()}),
        "pixels": "float32 (batch, channel, y, x): scaled to [0, 1] channel by channel, minus mean, over std",
        "probability": "float32 (batch, y, x): of any class but the first" if is_seg else "float32 (batch, class)",
        "dedl_fastai": card["dedl_fastai"],
    }


def example_inputs(model: Segmenter | Classifier, data: str | Path = "") -> tuple[str, np.ndarray]:
    """What they are, and normalised inputs (n, C, H, W) of `data`, of the run's own fields, or else of noise."""
    if data:
        return f"fields of {data}", _inputs_of(model, Cohort.load(data))
    try:
        return "the run's own fields", _inputs_of(model, _held_out(model))
    except UserError as e:
        log.warning("the run's own fields cannot be read, so noise is used (or data=DIR): %s", e)
    edge = model.facts.tile if isinstance(model, Segmenter) else model.facts.size
    shape = (_N_INPUTS, len(model.facts.mean), edge, edge)
    return "noise", np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _held_out(model: Segmenter | Classifier) -> Cohort:
    """The fields the run was not trained on, as far as it has any."""
    options = model.run.read("config")
    fields = model.run.read("splits")["fields"]
    cohort = Cohort.load(options["data"], options.get("patient") or None)
    held_out = [name for name, row in fields.items() if row["split"] in ("valid", "test")]
    return cohort.where(cohort.table.field.isin(held_out or list(fields)))


def _inputs_of(model: Segmenter | Classifier, cohort: Cohort) -> np.ndarray:
    if not len(cohort):
        raise UserError(f"{cohort.root} holds none of the run's fields.")
    cohort, facts = cohort.limited(_N_FIELDS), model.facts
    if isinstance(model, Segmenter):
        pictures = [
            t.pixels() for t in _some(tiles_of(cache_cohort(cohort, facts.channels, facts.scaling), facts.tile))
        ]
    else:
        pictures = _some([p for image in cohort.table.image for p in tiles_of_file(image, facts)[1]])
    mean, std = (np.array(v, dtype=np.float32)[:, None, None] for v in (facts.mean, facts.std))
    return (np.stack(pictures) - mean) / std


def _some(items: list) -> list:
    """At most as many as the check takes, spread over all."""
    return items[:: max(1, -(-len(items) // _N_INPUTS))]


def _network(model: Segmenter | Classifier) -> nn.Module:
    return Foreground(model.model) if isinstance(model, Segmenter) else nn.Sequential(model.model, nn.Sigmoid())


def _threshold(model: Segmenter | Classifier) -> float | np.ndarray:
    return model.threshold if isinstance(model, Segmenter) else model.thresholds


def _write_onnx(program: ExportedProgram, metadata: dict[str, Any], file: Path) -> Callable[[np.ndarray], np.ndarray]:
    optional("onnxruntime", "engines", "ONNX files, which are checked with ONNX Runtime,")
    file.write_bytes(onnx_bytes(program, {name: json.dumps(value) for name, value in metadata.items()}))
    return OnnxEngine(file)


def _write_torch(program: ExportedProgram, metadata: dict[str, Any], file: Path) -> Callable[[np.ndarray], np.ndarray]:
    torch.export.save(program, file, extra_files={"facts.json": json.dumps(metadata)})
    opened = torch.export.load(file).module()
    return lambda inputs: opened(torch.from_numpy(inputs)).numpy()


@torch.inference_mode()
def _agreement(
    run: Callable[[np.ndarray], np.ndarray], network: nn.Module, inputs: np.ndarray, threshold: float | np.ndarray
) -> Agreement:
    """Of the written file with PyTorch, in batches of several sizes."""
    parts = [p for p in np.split(inputs, np.cumsum(_BATCHES)) if len(p)]
    ours = np.concatenate([run(p) for p in parts])
    return Agreement.of(ours, np.concatenate([network(torch.from_numpy(p)).numpy() for p in parts]), threshold)
