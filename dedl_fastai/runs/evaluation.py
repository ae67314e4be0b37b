"""`evaluate_run`: recompute the metrics of finished runs from their weights, on their own fields or on others."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cells.options import NucleiOptions
from ..data.classification.tile_labels import splits_by_place
from ..data.cohort import SPLITS, Cohort
from ..data.pixels import parse_channels
from ..data.splits import apply_splits
from ..errors import UserError
from ..inference.classifier import Classifier
from ..inference.ensemble import Ensemble
from ..inference.load import load_run
from ..training.model_card import read_card
from ..training.run_folder import RunFolder, data_fingerprint
from .classification.evaluation import evaluate_clf_again
from .options.clf import ClfConfig
from .options.tasks import CONFIGS
from .options.training import DataOptions
from .out_of_fold import score_test_folds
from .outer_fold import OuterFold
from .segmentation.evaluation import evaluate_seg_again

log = logging.getLogger(__name__)

_EVALUATED = ("train", "valid", "test", "all")


def evaluate_run(
    path: str | Path | Sequence[str | Path],  # several segmentation runs: an ensemble; or a folder with test folds
    data: str | Path = "",  # fields; default: the run's own
    split: str = "",  # train, valid, test, all; default: test, and all for other fields
    which: str = "best",  # best, last, swa
    device: str = "auto",
    channel: str = "",  # names of the model's channels in these files, such as blue; default: as in training
    part_by: str = "distance",  # how touching nuclei are separated, if masks hold ids: distance, intensity
) -> dict[str, Any]:
    """Return metrics as in metrics.json for one split, with the thresholds stored in the model.

    In a folder with test folds, every field is scored with the run that did not see its patient.

    Raises `UserError` if the split has no fields with masks or labels, or if the runs do not form an ensemble.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if len(paths) == 1 and has_test_folds(RunFolder.at(paths[0])):
        if data or channel or split not in ("", "test"):
            raise UserError(
                f"{paths[0]} has test folds, which are evaluated on the fields that each of them tests: leave `data`, "
                f"`channel` and `split` out, or name one of its runs."
            )
        return _evaluate_test_folds(RunFolder.at(paths[0]), which, device, NucleiOptions(part_by=part_by))
    split = split or ("all" if data else "test")
    if split not in _EVALUATED:
        raise UserError(f"split={split!r} is unknown; it may be {', '.join(_EVALUATED)}.")
    nuclei = NucleiOptions(part_by=part_by)
    runs = [RunFolder.existing(p) for p in paths]
    config = CONFIGS["seg" if read_card(runs[0])["task"] == "segmentation" else "clf"]
    options = config.from_dict(runs[0].read("config"))
    cohort = Cohort.load(data, options.patient or None) if data else _own_cohort(runs[0], options)
    if not data:
        _check_same_fields(runs, split)
    model = Ensemble.load(paths, which, device) if len(paths) > 1 else load_run(paths[0], which, device)
    if isinstance(model, Classifier):
        if channel or part_by != "distance":
            raise UserError("`channel` and `part_by` are for segmentation runs: this is a classification run.")
        return evaluate_clf_again(model, cohort, split)
    channels = parse_channels(channel) if channel else ()
    metrics = evaluate_seg_again(model, cohort.with_masks(), [split], channels=channels, nuclei=nuclei)
    if not metrics:
        splits = ", ".join(s for s in SPLITS if len(cohort.part(s))) or "none"
        raise UserError(f"{cohort.root} has no {split} fields with masks; its splits: {splits}.")
    return metrics


def has_test_folds(folder: RunFolder) -> bool:
    """Return whether the folder has the runs of test folds; a run has a model of its own."""
    is_run = (folder.path / "model.json").is_file()
    return folder.is_started and not is_run and bool(folder.read("config").get("test_folds"))


def _evaluate_test_folds(parent: RunFolder, which: str, device: str, nuclei: NucleiOptions) -> dict[str, Any]:
    if not parent.is_complete:
        raise UserError(f"{parent.path} is not complete: continue its training with `resume`.")
    folds = []
    for name, row in parent.read("metrics")["folds"].items():
        runs = [RunFolder.existing(parent.path / member) for member in row["members"]]
        config = CONFIGS["seg" if read_card(runs[0])["task"] == "segmentation" else "clf"]
        options = config.from_dict(runs[0].read("config"))
        folds.append(OuterFold(name, _own_cohort(runs[0], options), runs))
    return score_test_folds(folds, which, device, nuclei)


def _check_same_fields(runs: Sequence[RunFolder], split: str) -> None:
    """Raise a `UserError` if the fields of the split differ: a member trained on some would make the score too good."""

    def fields_of(run: RunFolder) -> set[str]:
        return {f for f, v in run.read("splits")["fields"].items() if split in (v["split"], "all")}

    first, *others = runs
    for run in others:
        differ = sorted(fields_of(first) ^ fields_of(run))
        if differ:
            raise UserError(
                f"{run.path} and {first.path} do not have the same {split} fields ({differ[0]} is in one of them): "
                f"an ensemble needs fields that no member was trained on; name them with `data`."
            )


def _own_cohort(run: RunFolder, options: DataOptions) -> Cohort:
    fields = set(run.read("splits")["fields"])
    cohort = Cohort.load(options.data, options.patient or None)
    cohort = cohort.where(cohort.table.field.isin(fields))
    is_by_place = isinstance(options, ClfConfig) and splits_by_place(cohort, options.tile)
    if not is_by_place:
        cohort = apply_splits(cohort, run.path / "splits.json", may_leak=True)  # checked when the run was trained
    if data_fingerprint(cohort) != run.read("manifest")["data"]["fingerprint"]:
        log.warning("the fields in %s have changed since the run: its metrics may differ", cohort.root)
    return cohort
