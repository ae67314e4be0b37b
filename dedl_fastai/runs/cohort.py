"""Load and split the cohort that the options name: the user's fields, or the demo cohort if none are given."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..data.classification.folds import clf_folds, paper_clf_split
from ..data.classification.labels import field_labels, have_labels
from ..data.classification.tile_labels import has_one_patient, splits_by_place
from ..data.cohort import Cohort
from ..data.demo.cohort import demo_cohort
from ..data.joined import load_cohorts, with_training_fields
from ..data.patient_folds import outer_folds
from ..data.splits import apply_splits, check_no_leak, split_cohort
from ..data.subsets import draw_training_fields
from ..errors import UserError
from ..io.files import cache_root, folder_written_whole
from .options.clf import ClfConfig
from .options.training import DataOptions, TrainOptions

log = logging.getLogger(__name__)

DEMO_FIELDS, DEMO_PATIENTS, DEMO_SIZE = 28, 7, (256, 384)  # for segmentation: a multiple of tiles of 128 pixels
CLF_DEMO = (168, 14, (128, 192))  # for classification: many small fields


def with_demo_data(given: dict[str, Any], task: str = "seg") -> dict[str, Any]:
    """Return the given options; without data, with the demo cohort (created once, then reused) and preset `demo`."""
    if given.get("data"):
        return with_whole_paths(given)
    folder = demo_folder(*(CLF_DEMO if task == "clf" else (DEMO_FIELDS, DEMO_PATIENTS, DEMO_SIZE)))
    log.info("no `data` given: the demo cohort in %s and preset=%s are used", folder, given.get("preset", "demo"))
    return with_whole_paths({"preset": "demo", **given, "data": str(folder)})


def with_whole_paths(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options with the folders of the fields as absolute paths."""
    several = {n: tuple(map(_whole_path, given[n])) for n in ("more_data", "train_only") if given.get(n)}
    return {**given, "data": _whole_path(given["data"]), **several}


def _whole_path(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def demo_folder(fields: int, patients: int, size: tuple[int, int]) -> Path:
    """Return the folder of a demo cohort, which is created if it does not exist."""
    folder = cache_root() / f"demo-{fields}x{size[0]}x{size[1]}-v1"
    if not folder.is_dir():
        log.info("creating the demo cohort: %d fields", fields)
        with folder_written_whole(folder) as beside:
            demo_cohort(beside, fields, patients, size)
    return folder


def load_split_cohort(options: DataOptions, fold: int = 0) -> Cohort:
    """Return the cohort of the options, split and reduced to `limit_fields`."""
    if options.test_folds:
        return load_outer_folds(options)[fold]
    cohort = load_cohort(options)
    if options.splits:
        cohort = apply_splits(cohort, options.splits)
    else:
        cohort = split_cohort(cohort, options.split, options.seed, folds=options.folds, fold=fold)
    return cohort.limited(options.limit_fields)


def training_part(cohort: Cohort, options: TrainOptions) -> Cohort:
    """Return the cohort with the part of its training fields that the options name, drawn with their seed.

    It is drawn from the fields with masks, or with labels for a classification. The fields of `train_only` are added.
    Raises `UserError` if their patients validate or are tested.
    """
    usable = have_labels(cohort) if isinstance(options, ClfConfig) else cohort.table["mask"] != ""
    cohort = draw_training_fields(cohort, options.train_fields, options.train_share, seed=options.seed, usable=usable)
    if not options.train_only:
        return cohort
    more = load_cohorts(options.train_only, options.patient or None)
    return check_no_leak(with_training_fields(cohort, more))


def load_cohort(options: DataOptions) -> Cohort:
    """Return the cohort of the options before it is split; log files without what belongs to them, such as a mask."""
    if options.splits and (options.split != "auto" or options.folds):
        raise UserError("splits=FILE already defines the split: leave `split` and `folds` out.")
    cohort = load_cohorts(options.folders, options.patient or None)
    if cohort.problems:
        first = cohort.problems[0]
        log.warning(
            "%d files lack another one that belongs to them, the first: %s (see `dedl-fastai data check`)",
            len(cohort.problems),
            first,
        )
    return cohort


def load_clf_cohort(options: ClfConfig, fold: int = 0) -> Cohort:
    """Return the split cohort of classification options: folds balance the classes, `paper` splits by image."""
    if options.test_folds:
        return load_clf_outer_folds(options)[fold]
    cohort = load_cohort(options)
    if options.splits:
        return apply_splits(cohort, options.splits).limited(options.limit_fields)
    if splits_by_place(cohort, options.tile) and not options.folds:
        return cohort
    if options.split == "paper":
        return paper_clf_split(cohort, options.folds or 6, fold, options.seed).limited(options.limit_fields)
    cohort = split_cohort(cohort, options.split, options.seed)
    if options.folds:
        labels = field_labels(cohort, options.rules, options.min_cells, options.thresholds or None)
        cohort = cohort.with_split(clf_folds(cohort, labels, options.folds, options.seed)[fold])
    return check_no_leak(cohort).limited(options.limit_fields)


def load_cells_cohort(options: ClfConfig, fold: int = 0) -> Cohort:
    """Return the split cohort of the fields with cell tables; a single patient is not split here, but by place."""
    if options.test_folds:
        return load_cells_outer_folds(options)[fold]
    cohort = with_tables(load_cohort(options))
    if options.splits:
        cohort = apply_splits(cohort, options.splits)
    elif not has_one_patient(cohort):
        cohort = check_no_leak(split_cohort(cohort, options.split, options.seed))
    return cohort.limited(options.limit_fields)


def load_cells_outer_folds(options: ClfConfig) -> list[Cohort]:
    """Return the split cohort of each test fold of the fields with cell tables."""
    cohort = load_cohort(options)
    cohort = with_tables(cohort.where(cohort.table.split != "ignore")).limited(options.limit_fields)
    return outer_folds(cohort, options.test_folds, options.seed)


def with_tables(cohort: Cohort) -> Cohort:
    """Return the fields with a cell table; `UserError` if no field has one."""
    has_table = cohort.table["cells"] != "" if "cells" in cohort.table else pd.Series(False, cohort.table.index)
    if not has_table.any():
        raise UserError(
            f"{cohort.root} has no cell tables, and the types of cells are learned from them: export them from inForm "
            f"(cell_seg_data.txt), or add a column cells to cohort.csv."
        )
    cohort = cohort.where(has_table)
    return replace(cohort, table=cohort.table.assign(labels=""))  # given labels are of whole fields


def load_outer_folds(options: DataOptions) -> list[Cohort]:
    """Return the split cohort of each test fold of segmentation options: the fields with masks."""
    cohort = load_cohort(options)
    cohort = cohort.where(cohort.table.split != "ignore").with_masks().limited(options.limit_fields)
    return outer_folds(cohort, options.test_folds, options.seed)


def load_clf_outer_folds(options: ClfConfig) -> list[Cohort]:
    """Return the split cohort of each test fold of classification options: the labelled fields, classes balanced.

    Thresholds of markers that are not given are determined from all fields here. They decide only which patients are
    tested together: the labels of a fold's run come from its own training and validation fields.
    """
    cohort = load_cohort(options)
    if splits_by_place(cohort, options.tile):
        raise UserError(
            f"test_folds={options.test_folds} does not apply to {cohort.root}: the tiles of its only patient are split "
            f"by place. Leave it out, or add patients."
        )
    cohort = cohort.where(cohort.table.split != "ignore")
    classes = field_labels(cohort, options.rules, options.min_cells, options.thresholds or None).matrix
    cohort = cohort.where(cohort.table.field.isin(classes.index)).limited(options.limit_fields)
    return outer_folds(cohort, options.test_folds, options.seed, classes=classes)
