"""`run_ablation`: segmentation with and without APP, paired by seed: same split, data order and first weights."""

import logging
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.splits import save_splits
from ..errors import UserError
from ..experiment.config import SegConfig
from ..experiment.inputs import load_split_cohort
from ..experiment.seg import train_seg
from ..io.files import write_json
from ..training.run_folder import RunFolder
from .process import in_own_process

log = logging.getLogger(__name__)

ARMS: dict[str, dict[str, Any]] = {
    "none": {"app": "none"},
    "gelu": {"app": "gelu"},
    "gelu-cosine": {"app": "gelu", "app_schedule": "cosine"},
    "gelu-fixed": {"app": "gelu", "app_weight": "1"},
    "relu": {"app": "relu"},
    "relu-cosine": {"app": "relu", "app_schedule": "cosine"},
    "released": {"app": "relu", "app_released": True},
}


def run_ablation(
    given: Mapping[str, Any],  # options of `seg`, as a user gave them
    seeds: Sequence[int],
    out: str | Path,
    arms: Sequence[str] = (),  # default: all of `ARMS`
) -> list[dict[str, Any]]:
    """Train every arm with every seed below `out`, and return (and write as runs.json) a row a run.

    The split is that of the first seed for all of them. Each run has a process of its own, so that its peak memory is
    its own. Finished runs are not repeated, unfinished ones go on. Raises `UserError` for unknown arms.
    """
    arms = _with_baseline(arms or list(ARMS))
    folder = RunFolder.at(out).path
    base = SegConfig.resolve({**given, "seed": seeds[0]})
    splits = folder / "splits.json"
    if not splits.exists():
        save_splits(load_split_cohort(base), splits)
    fixed = {**given, "split": "auto", "splits": str(splits)}
    rows = []
    for seed in seeds:
        for arm in arms:
            log.info("arm %s, seed %d", arm, seed)
            options = SegConfig.resolve({**fixed, **ARMS[arm], "seed": seed})
            rows.append({"arm": arm, "seed": seed, **_in_own_process(options, folder / f"{arm}-seed{seed}")})
            write_json(folder / "runs.json", rows)
    return rows


def _with_baseline(arms: Sequence[str]) -> list[str]:
    unknown = [a for a in arms if a not in ARMS]
    if unknown:
        raise UserError(f"--rows {unknown[0]!r} is unknown; they may be {', '.join(ARMS)}.")
    return ["none", *(a for a in arms if a != "none")]


def _in_own_process(options: SegConfig, out: Path) -> dict[str, Any]:
    """Results of a run; its cost is written beside it by the process that trained it."""
    if not (out / "cost.json").exists():
        in_own_process(_train, options, out, log.getEffectiveLevel())
    run = RunFolder.existing(out)
    metrics, last = run.read("metrics"), run.history()[-1]
    return {
        "iou": metrics["test"]["iou"],
        "iou_at_0.5": metrics["test"]["at_0.5"]["iou"],
        "valid_iou": metrics["valid"]["iou"],
        "otsu_iou": metrics["baselines"]["otsu"]["iou"],
        "threshold": metrics["threshold"],
        "app_grad_ratio": float(last.get("app_grad_ratio") or 0),
        **run.read("cost"),
    }


def _train(options: SegConfig, out: Path, level: int) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("dedl_fastai").setLevel(level)
    train_seg(options, out, bar=False)
    seconds = sum(float(row["seconds"]) for row in RunFolder.at(out).history())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write_json(out / "cost.json", {"train_seconds": round(seconds, 1), "peak_mb": round(peak)})
