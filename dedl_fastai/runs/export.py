"""`export_run`: write a trained network as a file that runs without this package, checked against PyTorch."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from ..data.cache import cache_cohort
from ..data.classification.items import tiles_of_file
from ..data.cohort import Cohort
from ..data.demo.cohort import demo_cohort
from ..data.joined import load_cohorts
from ..data.tiles import tiles_of
from ..errors import UserError
from ..extras import optional
from ..inference.classifier import Classifier
from ..inference.engines.foreground import Foreground
from ..inference.engines.portable import exported_program, onnx_bytes
from ..inference.engines.runtimes import OnnxEngine
from ..inference.load import load_run
from ..inference.segmenter import Segmenter
from ..io.files import written_whole
from ..models.names import HEADS, NUCLEI
from ..scores.agreement import Agreement
from ..training.run_folder import RunFolder
from .packing import pack_run
from .zoo_package import Credits, write_zoo_package

log = logging.getLogger(__name__)

FILES = {"onnx": "model.onnx", "torch": "model.pt2", "run": "run", "bioimageio": "model.bioimageio.zip"}
TOLERANCE = 1e-3  # of a probability
_N_FIELDS, _N_INPUTS = 4, 10  # used in the check
_BATCHES = (4, 1, 5)  # sizes in the check: the file must accept any


@dataclass(frozen=True)
class Exported:
    """An exported file or folder, the inputs it was checked on, and its agreement with PyTorch."""

    path: Path
    checked_on: str
    n_inputs: int
    agreement: Agreement

    @property
    def megabytes(self) -> float:
        """Size on disk."""
        files = [self.path] if self.path.is_file() else [f for f in self.path.iterdir() if f.is_file()]
        return sum(f.stat().st_size for f in files) / 2**20


def export_run(
    path: str | Path,
    format: str = "onnx",  # onnx, torch, bioimageio; run: a small copy of the run folder, see `pack_run`
    which: str = "best",  # best, last, swa
    out: str | Path = "",  # default: export/model.onnx, model.pt2 or run in the run
    data: str | Path = "",  # fields for the check; default: the run's own, or noise if they no longer exist
    credits: Credits | None = None,  # for bioimageio, which needs them
) -> Exported:
    """Write the network with its last activation: normalised pixels (b, C, H, W) -> probability, for any b.

    The probability is that of the foreground (b, H, W) for a segmentation, of each class (b, K) for a classification.
    The file holds what a reader needs to know (`export_metadata`). Raises `UserError` if the file and PyTorch differ.
    """
    target = _target(path, format, out)
    if (format == "bioimageio") != (credits is not None):
        raise UserError(f"format={format} credits={credits}: format=bioimageio, and no other, has `credits`.")
    model = load_run(path, which, "cpu")
    if isinstance(model, Classifier) and not model.sees_pictures:
        raise UserError(f"{path} classifies fields by their cells: it has no network on pictures to export.")
    source, inputs = example_inputs(model, data)
    network, shape = _network(model), inputs.shape[1:]
    if format == "run":
        pack_run(path, target, which)
        copy = _network(load_run(target, device="cpu"))
        agreement = _agreement(_predictor(copy), network, inputs, _threshold(model))
        return Exported(target, source, len(inputs), agreement)
    if credits is not None:
        return _package(model, target, data, credits=credits, source=source, inputs=inputs)
    program = exported_program(network, shape)
    metadata = export_metadata(model, which)
    with written_whole(target) as tmp:
        predict = _write_onnx(program, metadata, tmp) if format == "onnx" else _write_torch(program, metadata, tmp)
        agreement = _agreement(predict, network, inputs, _threshold(model))
        if not agreement.max_difference <= TOLERANCE:  # also true for NaN
            raise UserError(
                f"{target} was not written: its probabilities differ from PyTorch's by {agreement.max_difference:.2g} "
                f"({source}), more than {TOLERANCE:g}. Try the other `format`, and report the problem."
            )
    return Exported(target, source, len(inputs), agreement)


def _package(
    model: Segmenter | Classifier,
    target: Path,
    data: str | Path,
    *,
    credits: Credits,
    source: str,
    inputs: np.ndarray,
) -> Exported:
    credits.check()
    if not isinstance(model, Segmenter):
        raise UserError("format=bioimageio is for segmentation runs: use format=onnx for a classification.")
    with TemporaryDirectory() as folder, written_whole(target) as tmp:
        predict = write_zoo_package(tmp, model, example_image(model, data, folder), credits)
        agreement = _agreement(predict, _network(model), inputs, _threshold(model))
    return Exported(target, source, len(inputs), agreement)


def example_image(model: Segmenter, data: str | Path, folder: str) -> Path:
    """Return an image of `data` or of the run's fields, with the channels' names of the training; else a synthetic one.

    The synthetic one is made in `folder`.
    """
    try:
        own = Cohort.load(data) if data else _held_out(model.run) if model.run else None
    except UserError:
        own = None
    rows = [] if own is None else [row for row in own.rows() if not getattr(row, "channel", "")]
    return Path((rows or demo_cohort(folder, fields=1, patients=1, size=(256, 256)).rows())[0].image)


def _target(path: str | Path, format: str, out: str | Path) -> Path:
    if format not in FILES:
        raise UserError(f"format={format!r} is unknown; it may be {', '.join(FILES)}.")
    suffix = Path(FILES[format]).suffix
    if out and suffix and Path(out).suffix != suffix:
        raise UserError(f"out={out}: the name of a file of format={format} ends in {suffix}.")
    if str(path) == NUCLEI and not out:
        raise UserError("give `out` for the model that comes with the package: nothing is written into the package.")
    return Path(out) if out else RunFolder.at(path).path / "export" / FILES[format]


def export_metadata(model: Segmenter | Classifier, which: str = "best") -> dict[str, Any]:
    """Return the metadata of the file: JSON under each name in an ONNX file, facts.json in a .pt2 file."""
    card, facts = model.card, model.facts
    own: dict[str, Any]
    if isinstance(model, Segmenter):
        own = {"tile": facts.tile, "threshold": model.threshold}
        probability = "float32 (batch, y, x): of any class but the first"
        if model.head != "mask":
            probability = f"float32 (batch, plane, y, x): of any class but the first, then the {model.head} in 0..1"
    else:
        own = {"input": facts.input, "size": facts.size, "tile": facts.tile}
        own["thresholds"] = model.thresholds.tolist()
        probability = "float32 (batch, class)"
    return {
        "task": card["task"],
        "network": card["network"],
        "weights": which,
        "classes": card["classes"],
        "channels": facts.channels,
        "scaling": facts.scaling.to_dict(),
        "mean": facts.mean,
        "std": facts.std,
        **own,
        "pixels": "float32 (batch, channel, y, x): scaled to [0, 1] channel by channel, minus mean, over std",
        "probability": probability,
        "dedl_fastai": card["dedl_fastai"],
    }


def example_inputs(model: Segmenter | Classifier, data: str | Path = "") -> tuple[str, np.ndarray]:
    """Return a description of inputs and normalised inputs (n, C, H, W): of `data`, the run's own fields, or noise."""
    if data:
        return f"fields of {data}", _inputs_of(model, Cohort.load(data))
    try:
        if model.run:
            return "the run's own fields", _inputs_of(model, _held_out(model.run))
    except UserError as e:
        log.warning("the run's own fields cannot be read, so noise is used (give others with data=DIR): %s", e)
    edge = model.facts.tile if isinstance(model, Segmenter) else model.facts.size
    shape = (_N_INPUTS, len(model.facts.mean), edge, edge)
    return "noise", np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _held_out(run: RunFolder) -> Cohort:
    """Return the validation and test fields of the run, or all of its fields if there are none."""
    options = run.read("config")
    fields = run.read("splits")["fields"]
    cohort = load_cohorts([options["data"], *options.get("more_data", ())], options.get("patient") or None)
    held_out = [name for name, row in fields.items() if row["split"] in ("valid", "test")]
    return cohort.where(cohort.table.field.isin(held_out or list(fields)))


def _inputs_of(model: Segmenter | Classifier, cohort: Cohort) -> np.ndarray:
    if not len(cohort):
        raise UserError(f"{cohort.root} has none of the run's fields.")
    cohort, facts = cohort.limited(_N_FIELDS), model.facts
    if isinstance(model, Segmenter):
        tiles = tiles_of(cache_cohort(cohort, facts.channels, facts.scaling), facts.tile)
        pictures = [t.pixels() for t in _sample(tiles)]
    else:
        pictures = _sample([p for image in cohort.table.image for p in tiles_of_file(image, facts)[1]])
    mean, std = (np.array(v, dtype=np.float32)[:, None, None] for v in (facts.mean, facts.std))
    return (np.stack(pictures) - mean) / std


def _sample(items: list) -> list:
    """Return at most `_N_INPUTS` items, evenly spread."""
    return items[:: max(1, -(-len(items) // _N_INPUTS))]


def _network(model: Segmenter | Classifier) -> nn.Module:
    if isinstance(model, Segmenter):
        return Foreground(model.model, HEADS[model.head])
    return nn.Sequential(model.model, nn.Sigmoid())


def _threshold(model: Segmenter | Classifier) -> float | np.ndarray:
    return model.threshold if isinstance(model, Segmenter) else model.thresholds


def _write_onnx(program: ExportedProgram, metadata: dict[str, Any], file: Path) -> Callable[[np.ndarray], np.ndarray]:
    optional("onnxruntime", "engines", "ONNX files, which are checked with ONNX Runtime,")
    file.write_bytes(onnx_bytes(program, {name: json.dumps(value) for name, value in metadata.items()}))
    return OnnxEngine(file)


def _write_torch(program: ExportedProgram, metadata: dict[str, Any], file: Path) -> Callable[[np.ndarray], np.ndarray]:
    torch.export.save(program, file, extra_files={"facts.json": json.dumps(metadata)})
    return _predictor(torch.export.load(file).module())


def _predictor(module: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    return lambda inputs: module(torch.from_numpy(inputs)).numpy()


@torch.inference_mode()
def _agreement(
    predict: Callable[[np.ndarray], np.ndarray], network: nn.Module, inputs: np.ndarray, threshold: float | np.ndarray
) -> Agreement:
    """Compare the written file with PyTorch, on batches of several sizes."""
    batches = [b for b in np.split(inputs, np.cumsum(_BATCHES)) if len(b)]
    exported = np.concatenate([predict(b) for b in batches])
    expected = np.concatenate([_predictor(network)(b) for b in batches])
    return Agreement.of(exported, expected, threshold)
