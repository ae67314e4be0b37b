"""Training that continues from a run: its options, its facts of the data, and its split."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.cohort import Cohort
from ..data.segmentation.facts import SegFacts
from ..data.splits import split_cohort
from ..errors import UserError
from ..io.corrections import log_of
from ..models.names import NUCLEI
from ..training.model_card import read_card, seg_facts_from_card
from ..training.run_folder import RunFolder
from .cohort import load_cohort, load_split_cohort, with_demo_data
from .options.seg import FINETUNE, SegConfig

log = logging.getLogger(__name__)

_FROM_CONFIG = ("pad", "loss", "overlap", "head_weight")  # options of the run that stay, where it has them
_LEFT_OUT = "ignore"  # split of fields that a run did not use
_MIN_PATIENTS = 3  # from which new patients are split, too; fewer are all for training


def complete_options(given: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Return the options of a command with those that follow from missing data, and from a run that `seg` continues."""
    given = with_demo_data(dict(given), task)
    return with_run_options(given) if task == "seg" else given


def with_run_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options of `seg`, with those of the run that `weights` names, if training continues from it.

    That is so with preset=finetune, and without a preset. Options that are given replace those of the run.
    """
    weights, preset = str(given.get("weights", "")), given.get("preset", FINETUNE)
    if preset != FINETUNE or not _is_run(weights):
        if given.get("preset") == FINETUNE:
            raise UserError(f"preset={FINETUNE} continues from a run: give weights=RUN, or weights={NUCLEI}.")
        return dict(given)
    run = RunFolder.existing(weights)
    card = read_card(run)
    network, scaling = card["network"], card["scaling"]
    own = {
        "arch": network["arch"],
        "encoder": network["encoder"],
        "depth": network["depth"],
        "decoder": ",".join(map(str, network["decoder_channels"])),
        "decoder_attention": network["attention"],
        "head": network["head"],
        "tile": card["tile"],
        "channel": ",".join(card["channels"]),
        "percentiles": f"{scaling['low']:.12g},{scaling['high']:.12g}",
    }
    config = run.read("config") if run.is_started else {}
    own |= {name: config[name] for name in _FROM_CONFIG if name in config}
    return {"preset": FINETUNE, **own, **given}


def _is_run(weights: str) -> bool:
    if weights != NUCLEI and not (Path(weights) / "model.json").is_file():
        return False
    return read_card(RunFolder.existing(weights))["task"] == "segmentation"


def facts_of_run(weights: str) -> SegFacts:
    """Return the facts of the data that a run was trained on, which a run that continues from it keeps."""
    return seg_facts_from_card(read_card(RunFolder.existing(weights)))


def load_seg_cohort(options: SegConfig, fold: int = 0) -> Cohort:
    """Return the split cohort of segmentation options; training that continues from a run has the split of the run."""
    splits_itself = options.splits or options.split != "auto" or options.folds or options.test_folds
    if options.preset != FINETUNE or splits_itself:
        return load_split_cohort(options, fold)
    return splits_like(load_cohort(options), options.weights, options.seed).limited(options.limit_fields)


def splits_like(cohort: Cohort, weights: str, seed: int) -> Cohort:
    """Split a cohort as the run did, so that the fields that it was not trained on stay held out.

    Fields of other patients are split at random if there are three patients or more, and are for training otherwise.
    A field that the run left out and that has corrections now is split with its patient, or as a new one.
    """
    run = RunFolder.existing(weights)
    fields = run.read("splits")["fields"] if (run.path / "splits.json").is_file() else {}
    table = cohort.table.copy()
    corrected = {f for f, mask in zip(table.field, table["mask"], strict=True) if log_of(mask) is not None}
    fields = {f: row for f, row in fields.items() if row["split"] != _LEFT_OUT or f not in corrected}
    of_patient = {row.get("patient", ""): row["split"] for row in fields.values() if row["split"] != _LEFT_OUT}
    table["patient"] = [fields.get(f, {}).get("patient") or p for f, p in zip(table.field, table.patient, strict=True)]
    own = zip(table.field, table.patient, strict=True)
    table["split"] = [fields[f]["split"] if f in fields else of_patient.get(p, "") for f, p in own]
    is_new = table.split == ""
    if is_new.any():
        table.loc[is_new, "split"] = _splits_of_new(cohort.where(is_new), seed)
    counts = table.split[is_new].value_counts().to_dict()
    log.info("%d fields have the split of %s, the others are new: %s", (~is_new).sum(), weights, counts)
    return split_cohort(cohort.with_split(list(table.split)).with_patients(list(table.patient)), "column", seed)


def _splits_of_new(cohort: Cohort, seed: int) -> list[str]:
    if cohort.table.patient.nunique() < _MIN_PATIENTS:
        return ["train"] * len(cohort)
    return list(split_cohort(cohort.with_split([""] * len(cohort)), "random", seed).table.split)
