"""Results of `predict` with corrections as a cohort: which fields are in it, and what of them is the truth."""

from pathlib import Path

import numpy as np
import pytest

from dedl_fastai.data import Cohort, seg_dataloaders
from dedl_fastai.data.joined import load_cohorts
from dedl_fastai.errors import UserError
from dedl_fastai.io import read_labels, write_ome_tiff
from dedl_fastai.io.corrections import Action
from dedl_fastai.io.masks import IGNORED

from ..corrected import correct, corrected_results

LEFT = ((0, 0), (64, 0), (64, 96), (0, 96))


@pytest.fixture
def results(tmp_path, tiny_cohort):
    names = list(tiny_cohort.table.field)
    folder = corrected_results(tmp_path / "results", tiny_cohort, {names[0]: LEFT, names[1]: None})
    correct(folder, tiny_cohort.rows()[2], [Action("draw", points=LEFT)])
    (folder / "fields" / "a_composite_image.jpg").write_bytes(b"a picture named as inForm does")
    return folder


def test_fields_with_a_checked_part_are_a_cohort(results, tiny_cohort):
    cohort = Cohort.load(results)
    assert cohort.layout == "corrections"
    assert list(cohort.table.field) == list(tiny_cohort.table.field[:2])
    assert list(cohort.table.image) == list(tiny_cohort.table.image[:2])
    assert list(cohort.table.patient) == list(tiny_cohort.table.patient[:2])
    (problem,) = cohort.problems
    assert "no part of it is marked as checked" in str(problem)
    part, whole = (read_labels(path) for path in cohort.table["mask"])
    assert (part[:, 90:] == IGNORED).all() and (part[:, :40] != IGNORED).all() and (whole != IGNORED).all()


def test_training_sees_only_tiles_with_a_checked_part(results):
    cohort = Cohort.load(results).with_split(["train", "valid"])
    dls = seg_dataloaders(cohort, tile=32, bs=4, ids=True, augment=[])
    assert len(dls.train.items) < len(dls.valid.items) == 12
    assert all((tile.mask() != IGNORED).any() for tile in dls.train.items)
    values = np.concatenate([y.numpy().ravel() for _, y in dls.train])
    assert (values == IGNORED).any() and (values > 0).any()


def test_a_check_that_is_added_is_noticed_by_the_cache(results):
    cohort = Cohort.load(results).with_split(["train", "valid"])
    n = len(seg_dataloaders(cohort, tile=32, bs=4, augment=[]).train.items)
    log = results / "corrections" / f"{cohort.table.field[0]}.jsonl"
    log.write_text(f"{log.read_text()}{Action('check', revision=2).line}\n")
    assert len(seg_dataloaders(cohort, tile=32, bs=4, augment=[]).train.items) == 12 > n


def test_results_without_a_checked_part_say_so(tmp_path, tiny_cohort):
    row = tiny_cohort.rows()[0]
    correct(tmp_path / "r", row, [Action("check"), Action("undo")])
    with pytest.raises(UserError, match="marked as checked"):
        Cohort.load(tmp_path / "r")
    (tmp_path / "r" / "fields" / f"{row.field}.json").unlink()
    (tmp_path / "r" / "corrections" / f"{row.field}.jsonl").write_text(f"{Action('check', revision=1).line}\n")
    with pytest.raises(UserError, match="no record"):
        Cohort.load(tmp_path / "r")


def test_corrected_fields_keep_the_names_patients_and_splits_of_the_truth_they_replace(results, tiny_cohort, tmp_path):
    rows = tiny_cohort.table[["image", "mask"]].copy()
    rows["field"], rows["patient"] = [f"F{i}" for i in range(len(rows))], [f"P{i // 2}" for i in range(len(rows))]
    rows["split"] = ["test", "test", "train", "train", "valid", "valid", "train"]
    rows.to_csv(tmp_path / "cohort.csv", index=False)
    table = load_cohorts([results, tmp_path]).table
    assert list(table.field) == list(rows.field) and list(table.patient) == list(rows.patient)
    assert list(table.split) == list(rows.split)
    assert [Path(m).parent.name for m in table["mask"][:2]] == ["corrections"] * 2


def test_labels_behind_their_log_are_no_truth_in_a_manifest_either(results):
    cohort = Cohort.load(results)
    mask = Path(cohort.table["mask"][0])
    write_ome_tiff(mask, np.ones((96, 128), np.uint32), ["nucleus id"], description="corrected by hand, revision 0")
    with pytest.raises(UserError, match="does not show all corrections"):
        read_labels(mask)
