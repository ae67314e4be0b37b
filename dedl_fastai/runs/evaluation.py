"""`evaluate_run`, and `evaluate` of runs and ensembles: metrics from saved weights, on own fields or on others."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastcore.basics import patch

from ..cells.options import NucleiOptions
from ..data.classification.tile_labels import has_one_patient
from ..data.cohort import SPLITS, Cohort
from ..data.joined import load_cohorts
from ..data.pixels import parse_channels
from ..data.splits import apply_splits
from ..errors import UserError
from ..inference.classifier import Classifier
from ..inference.classifier_ensemble import ClassifierEnsemble
from ..inference.ensemble import Ensemble
from ..inference.load import load_run
from ..inference.options import SCALE
from ..inference.segmenter import Segmenter
from ..training.model_card import read_card
from ..training.run_folder import RunFolder, data_fingerprint
from .cells.again import TypeOptions, evaluate_cells_again, evaluate_cells_folds, evaluate_types_of_nuclei
from .cells.labelled import predicted_nuclei
from .classification.evaluation import evaluate_clf_again
from .options.clf import ClfConfig
from .options.seg import SegConfig
from .options.tasks import CONFIGS
from .outer_fold import OuterFold
from .segmentation.evaluation import evaluate_seg_again

log = logging.getLogger(__name__)

_EVALUATED = ("train", "valid", "test", "all")


def evaluate_run(
    path: str | Path | Sequence[str | Path],  # several runs: an ensemble; or a folder with test folds
    data: str | Path = "",  # fields; default: the run's own
    split: str = "",  # train, valid, test, all; default: test, and all for other fields
    which: str = "best",  # best, last, swa
    device: str = "auto",
    channel: str = "",  # names of the model's channels in these files; default: as in training
    part_by: str = "distance",  # how touching nuclei are separated, if masks hold ids: distance, intensity
    scale: str | float = SCALE,  # of segmentation runs: none, auto or a factor, see `choose_scale`
    tta: str = Segmenter.tta,  # of segmentation runs: none; flips, dihedral: mean over transformed images of each tile
    types: TypeOptions | None = None,  # how types of cells are predicted and matched with cell tables
) -> dict[str, Any]:
    """Return metrics as in metrics.json for one split, with the thresholds stored in the model.

    A segmentation with rules or a classifier in `types` also gets "cell_types": the types of its nuclei against those
    in the cell tables.

    In a folder with test folds, every field is scored with the run that did not see its patient.

    Raises `UserError` if the split has no fields with masks or labels, or if the runs do not form an ensemble.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if len(paths) == 1 and has_test_folds(RunFolder.at(paths[0])):
        if data or channel or scale != SCALE or tta != Segmenter.tta or split not in ("", "test"):
            raise UserError(
                f"{paths[0]} has test folds, which are evaluated on the fields that each of them tests: leave `data`, "
                f"`channel`, `scale`, `tta` and `split` out, or name one of its runs."
            )
        return _evaluate_test_folds(RunFolder.at(paths[0]), which, device, NucleiOptions(part_by=part_by))
    task = read_card(RunFolder.existing(paths[0]))["task"]
    segments, types = task == "segmentation", types or TypeOptions()
    if not segments and (channel or part_by != "distance" or scale != SCALE or tta != Segmenter.tta):
        raise UserError(
            "`channel`, `part_by`, `scale` and `tta` are for segmentation runs: this is a classification run."
        )
    nuclei = NucleiOptions(part_by=part_by)
    runs = [RunFolder.existing(p) for p in paths]
    split = _known(split) or ("all" if data else "test")
    cohort = Cohort.load(data, options_of(runs[0]).patient or None) if data else _fields_of(runs, split)
    if task == "cells":
        if len(paths) > 1:
            raise UserError("classifiers of single cells do not form an ensemble: evaluate them one by one.")
        return evaluate_cells_again(runs[0], cohort, split, which=which, device=device, types=types)
    model = _loaded(paths, segments, which, device=device, tta=tta)
    if isinstance(model, Classifier | ClassifierEnsemble):
        return evaluate_clf_again(model, cohort, split)
    channels = parse_channels(channel) if channel else ()
    metrics = _scores_of_nuclei(model, cohort, split, channels=channels, nuclei=nuclei, scale=scale)
    if not types.predicts:
        return metrics
    ensemble = model if isinstance(model, Ensemble) else Ensemble([model])
    found = predicted_nuclei(ensemble, channels, nuclei=nuclei, scale=scale)
    return {**metrics, "cell_types": evaluate_types_of_nuclei(cohort, split, found, types)}


def _loaded(
    paths: Sequence[str | Path], segments: bool, which: str, device: str, tta: str
) -> Segmenter | Classifier | Ensemble | ClassifierEnsemble:
    if len(paths) == 1:
        return load_run(paths[0], which, device, tta=tta)
    return Ensemble.load(paths, which, device, tta=tta) if segments else ClassifierEnsemble.load(paths, which, device)


@patch(nm="evaluate")
def _evaluate_nuclei(
    self: Segmenter | Ensemble,
    cohort: Cohort | None = None,  # default: the fields of the run, as it split them
    split: str = "",  # train, valid, test, all; default: test, and all for a cohort without test fields
    channels: Sequence[str] = (),  # names of the model's channels in these files; default: as in training
    part_by: str = "distance",  # how touching nuclei are separated, if masks hold ids: distance, intensity
    scale: str | float = SCALE,  # none, auto or a factor, see `choose_scale`
) -> dict[str, Any]:
    """Metrics of whole fields as metrics.json has them, at the stored threshold, next to the trivial baselines.

    Raises `UserError` if the split has no fields with masks, or if members of an ensemble were trained on some of them.
    """
    cohort, split = _fields_and_split(self, cohort, split)
    nuclei = NucleiOptions(part_by=part_by)
    return _scores_of_nuclei(self, cohort, split, channels=channels, nuclei=nuclei, scale=scale)


@patch(nm="evaluate")
def _evaluate_classes(
    self: Classifier | ClassifierEnsemble,
    cohort: Cohort | None = None,  # default: the fields of the run, as it split them
    split: str = "",  # train, valid, test, all; default: test, and all for a cohort without test fields
) -> dict[str, Any]:
    """Metrics as metrics.json has them, at the stored thresholds, next to the trivial baselines.

    Raises `UserError` if the split has no labelled fields, or if members of an ensemble were trained on some of them.
    """
    cohort, split = _fields_and_split(self, cohort, split)
    return evaluate_clf_again(self, cohort, split)


def _scores_of_nuclei(
    model: Segmenter | Ensemble,
    cohort: Cohort,
    split: str,
    channels: Sequence[str],
    nuclei: NucleiOptions,
    scale: str | float,
) -> dict[str, Any]:
    cohort = cohort.with_masks()
    metrics = evaluate_seg_again(model, cohort, [split], channels=channels, nuclei=nuclei, scale=scale)
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
    metrics = parent.read("metrics")
    if metrics["task"] == "cells":
        cohorts = {name: _own_cohort_of(parent.path / name) for name in metrics["folds"]}
        return evaluate_cells_folds(parent, cohorts, which, device)
    from .out_of_fold import score_test_folds  # imports the training of networks, which takes seconds

    folds = []
    for name, row in metrics["folds"].items():
        runs = [RunFolder.existing(parent.path / member) for member in row["members"]]
        folds.append(OuterFold(name, _own_cohort(runs[0], options_of(runs[0])), runs))
    return score_test_folds(folds, which, device, nuclei)


def _fields_and_split(
    model: Segmenter | Ensemble | Classifier | ClassifierEnsemble, cohort: Cohort | None, split: str
) -> tuple[Cohort, str]:
    """The fields to evaluate and the split's name, where a cohort or split that is not given has its default."""
    if cohort is None:
        split = _known(split) or "test"
        members = model.members if isinstance(model, Ensemble | ClassifierEnsemble) else [model]
        runs = [m.run for m in members if m.run is not None]
        if len(runs) < len(members):
            raise UserError("a model that is not from a run folder has no fields of its own: give a `cohort`.")
        return _fields_of(runs, split), split
    return cohort, _known(split) or ("test" if len(cohort.part("test")) else "all")


def _known(split: str) -> str:
    if split and split not in _EVALUATED:
        raise UserError(f"split={split!r} is unknown; it may be {', '.join(_EVALUATED)}.")
    return split


def options_of(run: RunFolder) -> SegConfig | ClfConfig:
    """The options of a run, as its config.json stores them."""
    task = "seg" if read_card(run)["task"] == "segmentation" else "clf"
    return CONFIGS[task].from_dict(run.read("config"))


def _fields_of(runs: Sequence[RunFolder], split: str) -> Cohort:
    """The fields of the first run; a `UserError` if those of the split are others in another run."""
    cohort = _own_cohort(runs[0], options_of(runs[0]))
    _check_same_fields(runs, split)
    return cohort


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


def _own_cohort_of(path: Path) -> Cohort:
    run = RunFolder.existing(path)
    return _own_cohort(run, options_of(run))


def _own_cohort(run: RunFolder, options: SegConfig | ClfConfig) -> Cohort:
    fields = set(run.read("splits")["fields"])
    missing = [folder for folder in options.all_folders if not Path(folder).exists()]
    if missing:
        raise UserError(f"the fields that {run.path.name} was trained on ({missing[0]}) are not here: give `data`.")
    cohort = load_cohorts(options.all_folders, options.patient or None)
    cohort = cohort.where(cohort.table.field.isin(fields))
    is_by_place = isinstance(options, ClfConfig) and options.items != "fields" and has_one_patient(cohort)
    if not is_by_place:
        cohort = apply_splits(cohort, run.path / "splits.json", may_leak=True)  # checked when the run was trained
    if data_fingerprint(cohort) != run.read("manifest")["data"]["fingerprint"]:
        log.warning("the fields in %s have changed since the run: its metrics may differ", cohort.root)
    return cohort
