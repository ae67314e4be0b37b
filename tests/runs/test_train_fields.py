"""Runs on a part of their training fields: as many steps, the same validation and test fields, found again later."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dedl_fastai.data import Cohort, demo_cohort, seg_dataloaders, split_cohort
from dedl_fastai.data.classification.block import clf_block
from dedl_fastai.data.subsets import draw_training_fields
from dedl_fastai.errors import UserError
from dedl_fastai.io.files import read_json
from dedl_fastai.runs.classification.training import train_clf
from dedl_fastai.runs.evaluation import evaluate_run
from dedl_fastai.runs.options.clf import ClfConfig
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg

from ..options import TINY, TINY_CLF


def test_a_run_on_one_field_is_evaluated_on_the_same_fields_as_one_on_all(tiny_folder, tmp_path):
    options = SegConfig.resolve({**TINY, "data": str(tiny_folder), "epochs": 1, "train_fields": 1})
    metrics = train_seg(options, tmp_path / "run")
    whole = split_cohort(Cohort.load(tiny_folder), "paper")
    splits = read_json(tmp_path / "run" / "splits.json")
    assert {s: splits["counts"][s]["fields"] for s in ("train", "valid", "test")} == {
        "train": 1,
        "valid": len(whole.part("valid")),
        "test": len(whole.part("test")),
    }
    assert evaluate_run(tmp_path / "run")["test"]["iou"] == pytest.approx(metrics["test"]["iou"])


def test_fields_without_masks_or_labels_are_not_drawn(few_folder, tmp_path):
    cohort = Cohort.load(few_folder).with_split(["train"] * 6 + ["valid"] * 2 + ["test"] * 2)
    table = cohort.table.drop(columns="cells").assign(labels=["a", "b", "b", "a", "a", "b"] + ["a", "b"] * 2)
    table.loc[[0, 2, 4], ["mask", "labels"]] = ""
    replace(cohort, table=table).save(tmp_path / "cohort.csv")
    given = {"data": str(tmp_path / "cohort.csv"), "split": "column", "epochs": 1, "train_fields": 2}
    train_seg(SegConfig.resolve({**TINY, **given}), tmp_path / "seg")
    train_clf(ClfConfig.resolve({**TINY_CLF, **given}), tmp_path / "clf")
    for run in ("seg", "clf"):
        splits = read_json(tmp_path / run / "splits.json")["fields"]
        drawn = {f for f, row in splits.items() if row["split"] == "train"}
        assert len(drawn) == 2 and drawn <= set(table.field[[1, 3, 5]])
    with pytest.raises(UserError, match="3 training fields with masks or labels"):
        train_seg(SegConfig.resolve({**TINY, **given, "train_fields": 4}), tmp_path / "none")


def test_an_epoch_is_as_long_as_with_all_fields_in_both_tasks(tiny_folder):
    whole = split_cohort(Cohort.load(tiny_folder), "paper")
    part = draw_training_fields(whole, 1)
    sizes = [len(seg_dataloaders(c, tile=32, bs=4).train_ds) for c in (whole, part)]
    assert sizes[0] == sizes[1]
    items = [clf_block(c, size=32).get_items(c) for c in (whole, part)]
    n_train = [sum(item.split == "train" for item in found) for found in items]
    assert n_train[0] == n_train[1] and len({i.field for i in items[1] if i.split == "train"}) == 1


def test_an_epoch_has_as_many_tiles_as_with_all_fields_where_their_sizes_differ(tmp_path):
    for name, size in (("small", (64, 64)), ("large", (64, 160))):
        for i in range(3):
            demo = demo_cohort(tmp_path / f"{name}{i}", fields=1, patients=1, size=size, seed=i)
            row = demo.rows()[0]
            for kind, path in (("images", row.image), ("masks", row.mask)):
                (tmp_path / "all" / kind).mkdir(parents=True, exist_ok=True)
                Path(path).rename(tmp_path / "all" / kind / f"{name}{i}.tif")
    whole = Cohort.load(tmp_path / "all", patient="field")
    whole = whole.with_split(["train", "train", "valid", "train", "train", "valid"])
    parts = [draw_training_fields(whole, 1, seed=seed) for seed in range(4)]
    assert {part.part("train").table.field.item()[:5] for part in parts} == {"small", "large"}
    assert {len(seg_dataloaders(part, tile=32, bs=4).train_ds) for part in (whole, *parts)} == {28}


def test_fields_that_only_train_are_added_to_the_training_part_and_known_to_evaluate(tiny_folder, tmp_path, caplog):
    packed = demo_cohort(tmp_path / "packed", fields=2, patients=2, size=(64, 64), difficulty="packed")
    options = SegConfig.resolve({**TINY, "data": str(tiny_folder), "epochs": 1, "train_only": [str(packed.root)]})
    metrics = train_seg(options, tmp_path / "run")
    whole = split_cohort(Cohort.load(tiny_folder), "paper")
    splits = read_json(tmp_path / "run" / "splits.json")["fields"]
    assert {f for f, row in splits.items() if row["split"] == "train"} == {
        *whole.part("train").table.field,
        *packed.table.field,
    }
    assert {f for f, row in splits.items() if row["split"] == "test"} == set(whole.part("test").table.field)
    assert evaluate_run(tmp_path / "run")["test"]["iou"] == pytest.approx(metrics["test"]["iou"])
    assert "have changed since the run" not in caplog.text


def test_fields_that_only_train_may_not_be_of_patients_that_are_tested(tiny_folder, tmp_path):
    tested = split_cohort(Cohort.load(tiny_folder), "paper").part("test").rows()[0]
    row = {"field": "other", "patient": tested.patient, "image": tested.image, "mask": tested.mask}
    pd.DataFrame([row]).to_csv(tmp_path / "cohort.csv", index=False)
    for folder, message in ((tiny_folder, "claim the field"), (tmp_path, "has fields in test and train")):
        options = SegConfig.resolve({**TINY, "data": str(tiny_folder), "train_only": [str(folder)]})
        with pytest.raises(UserError, match=message):
            train_seg(options, tmp_path / "run")
    assert not (tmp_path / "run").exists()
