"""`compare_tools`: nuclei of our runs and of other tools on the same fields, with the same matcher and threads."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage.filters import threshold_otsu

from ...cells.watershed import instances
from ...data.cohort import Cohort
from ...errors import UserError
from ...scores.object_matches import count_matches, mean_f1, pool_matches
from .fields import TrueField, true_fields
from .jobs import MODULES, PeerResult, run_peer

log = logging.getLogger(__name__)

PEERS = tuple(MODULES)


@dataclass(frozen=True)
class Training:
    """Fields on which the other tools are trained from scratch."""

    train: Sequence[TrueField]
    valid: Sequence[TrueField]
    epochs: int = 0  # 0: the default of each tool

    @classmethod
    def of(cls, cohort: Cohort, channels: Sequence[str], epochs: int = 0) -> "Training":
        """The training and validation fields of a split cohort."""
        train, valid = (true_fields(cohort.part(split), channels) for split in ("train", "valid"))
        return cls(train, valid, epochs)


def compare_tools(
    cohorts: Mapping[str, Cohort],  # by the name of their columns
    runs: Sequence[str | Path],  # of ours; "nuclei" too
    peers: Sequence[str] = PEERS,
    channels: Sequence[str] = ("DAPI",),  # names of the nuclear channel, the first of which a field has counts
    training: Training | None = None,  # the peers are trained on it too
    pythons: Mapping[str, str] | None = None,  # peer -> a Python that has it installed; default: this one
    threads: int = 2,
    tta: str = "none",  # of our runs
    scale: str = "none",  # of our runs
) -> list[dict[str, Any]]:
    """Return a row per tool and cohort: scores of nuclei and pixels, seconds, memory, versions; or why it did not run.

    Every tool gets one channel of each field as it is in the file, and its pixel size, and scales it itself. `f1` and
    `pq` are at IoU 0.5, `f1_mean` is over IoU 0.5 to 0.9, `iou` that of the pixels, all pooled over the fields. Times
    are of the prediction without loading the model; `train_seconds` of our runs is what their manifest says, and
    includes their evaluation.
    """
    if unknown := [p for p in peers if p not in PEERS]:
        raise UserError(f"peers={unknown[0]!r} is unknown; they may be {', '.join(PEERS)}.")
    fields = {name: true_fields(cohort, channels) for name, cohort in cohorts.items()}
    flat = [field for part in fields.values() for field in part]
    how = {"threads": threads, "test": flat}
    rows = _scored("Otsu and watershed", PeerResult([_otsu(f) for f in flat], {}), fields)
    for run in runs:
        result = _run("own", how, run=str(run), tta=tta, scale=scale)
        rows += _scored(f"ours: {Path(run).name}", result, fields)
    for peer in peers:
        own_python = {"python": pythons[peer]} if pythons and peer in pythons else {}
        rows += _scored(f"{peer}, published weights", _run(peer, how, **own_python), fields)
        if training:
            parts = {"train": training.train, "valid": training.valid, "epochs": training.epochs}
            rows += _scored(f"{peer}, same fields", _run(peer, how, **own_python, **parts), fields)
    return rows


def _run(peer: str, how: Mapping[str, Any], **more: Any) -> PeerResult:
    log.info("running %s", more.get("run", peer))
    with tempfile.TemporaryDirectory() as folder:
        result = run_peer(peer, Path(folder), **how, **more)
    if result.why_not:
        log.warning("%s is left out: %s", peer, result.why_not)
    return result


def _scored(tool: str, result: PeerResult, fields: Mapping[str, Sequence[TrueField]]) -> list[dict[str, Any]]:
    if result.why_not:
        return [{"tool": tool, "why_not": result.why_not}]
    labels = iter(result.labels)
    megapixels = sum(f.ids.size for part in fields.values() for f in part) / 1e6
    about = dict(result.about or {})
    for name in ("predict_seconds", "predict_cpu_seconds"):
        if name in about:
            about[name.replace("predict_", "") + "_per_mpx"] = round(about.pop(name) / megapixels, 3)
    return [{"tool": tool, "cohort": name, **_scores(labels, part), **about} for name, part in fields.items()]


def _scores(labels: Iterator[np.ndarray], fields: Sequence[TrueField]) -> dict[str, Any]:
    found = [next(labels) for _ in fields]
    pooled = pool_matches(count_matches(a, f.ids) for a, f in zip(found, fields, strict=True))
    both = sum(int(((a > 0) & (f.ids > 0)).sum()) for a, f in zip(found, fields, strict=True))
    either = sum(int(((a > 0) | (f.ids > 0)).sum()) for a, f in zip(found, fields, strict=True))
    at_half = pooled[0.5].scores()
    return {
        "n_fields": len(fields),
        "f1": round(at_half["f1"], 4),
        "f1_mean": round(mean_f1(pooled), 4),
        "pq": round(at_half["pq"], 4),
        "iou": round(both / max(either, 1), 4),
    }


def _otsu(field: TrueField) -> np.ndarray:
    if field.pixels.min() == field.pixels.max():
        return np.zeros(field.pixels.shape, np.int32)
    mask = field.pixels > threshold_otsu(field.pixels)
    return instances(mask.astype(np.float32), 0.5, field.pixel_size_um)
