"""`Ensemble.fit` and `ClassifierEnsemble.fit`: a member for each fold and seed, trained by a function of the user's."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from fastai.torch_core import set_seed
from fastcore.basics import patch

from ..data.classification.folds import clf_folds
from ..data.classification.labels import Labels, field_labels
from ..data.cohort import Cohort
from ..data.options import SEED
from ..data.splits import check_no_leak, split_cohort
from ..errors import UserError
from ..inference.classifier_ensemble import ClassifierEnsemble
from ..inference.ensemble import Ensemble
from ..training.learner import FieldLearner
from ..training.run_folder import RunFolder
from . import learner as _verbs  # noqa: F401 (`learn.save_run`)

log = logging.getLogger(__name__)

Train = Callable[[Cohort, int], FieldLearner]  # cohort and seed -> a Learner that has been trained


@patch(cls_method=True, nm="fit")
def _fit_segmentation(
    cls: Ensemble,
    train: Train,  # called with the cohort of each fold and each seed
    cohort: Cohort,  # with splits (`split_cohort`); for folds, its test fields are all that is needed
    folder: str | Path,  # of the members' run folders: fold0-seed26, ..., or seed26, ... without folds
    folds: int = 0,  # each validates once, by patient; 0: the cohort as it is
    seeds: Sequence[int] = (SEED,),
) -> Ensemble:
    """Train a member for each fold and seed, and load them as one model. Members that exist are not trained again.

    `train` makes loaders and a Learner from a cohort and a seed, trains it and returns it. Every generator is seeded
    before it is called. Its model is evaluated and saved by `learn.save_run`; test fields stay the same in every fold.
    Raises `UserError` for folds that are not possible, and for members that were trained on another split.
    """
    parts = [split_cohort(cohort, folds=folds, fold=i) for i in range(folds)] if folds else [cohort]
    return cls.load(_members(train, parts, folder, seeds=seeds))


@patch(cls_method=True, nm="fit")
def _fit_classification(
    cls: ClassifierEnsemble,
    train: Train,  # called with the cohort of each fold and each seed
    cohort: Cohort,  # with splits (`split_cohort`); for folds, its test fields are all that is needed
    folder: str | Path,  # of the members' run folders: fold0-seed26, ..., or seed26, ... without folds
    folds: int = 0,  # each validates once, by patient and balanced over the classes; 0: the cohort as it is
    seeds: Sequence[int] = (SEED,),
    labels: Labels | None = None,  # by which folds are balanced; default: `field_labels` of the cohort
) -> ClassifierEnsemble:
    """Train a member for each fold and seed, and load them as one model: `Ensemble.fit` for classification."""
    parts = [cohort]
    if folds:
        columns = clf_folds(cohort, labels or field_labels(cohort), folds)
        parts = [check_no_leak(cohort.with_split(column)) for column in columns]
    return cls.load(_members(train, parts, folder, seeds=seeds))


def _members(train: Train, parts: Sequence[Cohort], folder: str | Path, seeds: Sequence[int]) -> list[Path]:
    """Train the members that do not exist yet, and return the run folders of all."""
    members = []
    for fold, part in enumerate(parts):
        for seed in seeds:
            name = f"fold{fold}-seed{seed}" if len(parts) > 1 else f"seed{seed}"
            members.append((RunFolder.at(Path(folder) / name), part, seed))
    existing = {run for run, _, _ in members if run.is_complete}
    for run, part, _ in members:
        if run in existing:  # all are checked before the first one is trained
            _check_same_split(run, part)
    for run, part, seed in members:
        if run in existing:
            log.info("member %s exists: it is not trained again", run.path.name)
        else:
            log.info("member %s", run.path.name)
            _trained(train, part, seed).save_run(run.path)
    return [run.path for run, _, _ in members]


def _trained(train: Train, cohort: Cohort, seed: int) -> FieldLearner:
    set_seed(seed)
    learn = train(cohort, seed)
    if not isinstance(learn, FieldLearner):
        raise UserError("`train` must return the Learner that it has trained (`seg_learner`, `clf_learner`).")
    return learn


def _check_same_split(run: RunFolder, cohort: Cohort) -> None:
    """Raise a `UserError` if the member was trained on fields that are in another split, or not in the cohort."""
    split_of = dict(zip(cohort.table.field, cohort.table.split, strict=True))
    for field, there in run.read("splits")["fields"].items():
        if split_of.get(field) != there["split"]:
            raise UserError(
                f"{run.path} was trained on another split of the fields ({field!r} is not in {there['split']} here): "
                f"choose another folder."
            )
