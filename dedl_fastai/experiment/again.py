"""`evaluate_run`: the metrics of a finished run, recomputed from its weights on its own fields or on others."""

import logging
from pathlib import Path
from typing import Any

from ..data.cohort import SPLITS, Cohort
from ..data.splits import apply_splits
from ..data.tile_labels import splits_by_place
from ..errors import UserError
from ..inference.classifier import Classifier
from ..inference.load import load_run
from ..training.model_card import read_card
from ..training.run_folder import RunFolder, data_fingerprint
from .clf_config import ClfConfig
from .clf_evaluation import evaluate_clf_again
from .config import DataOptions, SegConfig
from .evaluation import evaluate_again

log = logging.getLogger(__name__)

_EVALUATED = ("train", "valid", "test", "all")
_OPTIONS: dict[str, type[DataOptions]] = {"segmentation": SegConfig, "classification": ClfConfig}


def evaluate_run(
    path: str | Path,
    data: str | Path = "",  # other fields than the run's own
    split: str = "",  # train, valid, test, all; default: test, and all for other fields
    which: str = "best",  # best, last, swa
    device: str = "auto",
) -> dict[str, Any]:
    """Metrics as in metrics.json for one split, with the thresholds stored in the model.

    Raises `UserError` if the split has no fields with masks or labels.
    """
    split = split or ("all" if data else "test")
    if split not in _EVALUATED:
        raise UserError(f"--split {split!r} is unknown; it may be {', '.join(_EVALUATED)}.")
    run = RunFolder.existing(path)
    options = _OPTIONS[read_card(run)["task"]].from_dict(run.read("config"))
    cohort = Cohort.load(data, options.patient or None) if data else _own_cohort(run, options)
    model = load_run(path, which, device, getattr(options, "overlap", 0.25))
    if isinstance(model, Classifier):
        return evaluate_clf_again(model, cohort, split)
    metrics = evaluate_again(model, cohort.with_masks(), [split])
    if not metrics:
        has = ", ".join(s for s in SPLITS if len(cohort.part(s))) or "none"
        raise UserError(f"{cohort.root} has no {split} fields with masks; its splits: {has}.")
    return metrics


def _own_cohort(run: RunFolder, options: DataOptions) -> Cohort:
    known = set(run.read("splits")["fields"])
    cohort = Cohort.load(options.data, options.patient or None)
    cohort = cohort.where(cohort.table.field.isin(known))
    is_by_place = isinstance(options, ClfConfig) and splits_by_place(cohort, options.tile)
    if not is_by_place:
        cohort = apply_splits(cohort, run.path / "splits.json", may_leak=True)  # the run itself was checked
    if data_fingerprint(cohort) != run.read("manifest")["data"]["fingerprint"]:
        log.warning("the fields in %s changed since the run: its numbers need not come out again", cohort.root)
    return cohort
