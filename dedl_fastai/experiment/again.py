"""`evaluate_run`: the metrics of a finished run, recomputed from its weights on its own fields or on others."""

import logging
from pathlib import Path
from typing import Any

from ..data.cohort import SPLITS, Cohort
from ..data.splits import apply_splits
from ..errors import UserError
from ..inference.segmenter import load_run
from ..training.run_folder import RunFolder, data_fingerprint
from .config import SegConfig
from .evaluation import evaluate_again

log = logging.getLogger(__name__)

_EVALUATED = ("train", "valid", "test", "all")


def evaluate_run(
    path: str | Path,
    data: str | Path = "",  # other fields than the run's own
    split: str = "",  # train, valid, test, all; default: test, and all for other fields
    which: str = "best",  # best, last, swa
    device: str = "auto",
) -> dict[str, Any]:
    """Metrics as in metrics.json for one split, with the threshold stored in the model.

    Raises `UserError` if the split has no fields with masks.
    """
    split = split or ("all" if data else "test")
    if split not in _EVALUATED:
        raise UserError(f"--split {split!r} is unknown; it may be {', '.join(_EVALUATED)}.")
    run = RunFolder.existing(path)
    options = SegConfig.from_dict(run.read("config"))
    cohort = Cohort.load(data, options.patient or None) if data else _own_cohort(run, options)
    metrics = evaluate_again(load_run(path, which, device, options.overlap), cohort.with_masks(), [split])
    if not metrics:
        has = ", ".join(s for s in SPLITS if len(cohort.part(s))) or "none"
        raise UserError(f"{cohort.root} has no {split} fields with masks; its splits: {has}.")
    return metrics


def _own_cohort(run: RunFolder, options: SegConfig) -> Cohort:
    known = set(run.read("splits")["fields"])
    cohort = Cohort.load(options.data, options.patient or None)
    cohort = apply_splits(cohort.where(cohort.table.field.isin(known)), run.path / "splits.json")
    if data_fingerprint(cohort) != run.read("manifest")["data"]["fingerprint"]:
        log.warning("the fields in %s changed since the run: its numbers need not come out again", cohort.root)
    return cohort
