"""The log and the label image of corrections: replay, undo, killed processes, two writers, checked regions."""

import json

import numpy as np
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, write_ome_tiff
from dedl_fastai.io.corrections import Action, actions_in_force, checked_mask, corrected_files
from dedl_fastai.predict.corrections import (
    StaleError,
    append,
    corrected_labels,
    is_written,
    labels_file,
    log_file,
    open_corrections,
    read_actions,
    types_of,
    write_labels,
)

SHAPE = (600, 700)  # larger than a block, and no multiple of it


@pytest.fixture
def folder(tmp_path):
    """Results with one field `f`: nuclei 1 to 4 of 20 x 20 pixels, 2 across the border of two blocks, 3 next to 4."""
    labels = np.zeros(SHAPE, np.uint32)
    for i, (y, x) in enumerate([(10, 10), (500, 505), (100, 100), (100, 120)], 1):
        labels[y : y + 20, x : x + 20] = i
    write_ome_tiff(tmp_path / "f_labels.ome.tif", labels, ["nucleus id"], 0.5)
    return tmp_path


ACTIONS = [
    Action("delete", (1,), ((15.5, 15.5),)),
    Action("split", (2,), ((500.0, 510.5), (530.0, 510.5))),
    Action("merge", (3, 4), ((105.0, 105.0), (125.0, 105.0))),
    Action("draw", (), ((300.0, 300.0), (320.0, 300.0), (320.0, 320.0), (300.0, 320.0))),
    Action("type", (6,), None, "b"),
    Action("check", (), ((0.0, 0.0), (100.0, 0.0), (100.0, 50.0), (0.0, 50.0))),
]


def done(folder, *actions):
    corrected = open_corrections(folder, "f")
    for action in actions:
        revision = corrected.revision
        append(folder, "f", corrected.apply(action), after=revision)
    return corrected


def test_each_action_changes_its_nuclei_and_is_in_the_log(folder):
    labels = done(folder, *ACTIONS).labels[:, :]
    counts = {int(i): int((labels == i).sum()) for i in np.unique(labels)[1:]}
    assert counts == {2: 220, 3: 800, 5: 180, 6: 400} or counts == {2: 210, 3: 800, 5: 190, 6: 400}
    lines = [json.loads(line) for line in log_file(folder, "f").read_text().splitlines()]
    assert [list(line) for line in lines] == [["time", "revision", "action", "labels", "points", "type"]] * 6
    assert [line["revision"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["labels"] for line in lines] == [[1], [2, 5], [3, 4], [6], [6], []]
    assert lines[0]["points"] == [[15.5, 15.5]] and lines[4]["points"] is None and lines[4]["type"] == "b"
    assert types_of(actions_in_force(read_actions(folder, "f"))) == {6: "b"}
    assert list(corrected_files(folder)) == ["f"]


def test_the_labels_of_a_field_are_replayed_if_their_image_is_behind_the_log(folder):
    corrected = done(folder, *ACTIONS[:2])
    write_labels(folder, "f", corrected.labels, corrected.revision)
    assert is_written(folder, "f")
    with open_field(labels_file(folder, "f")) as field:
        assert field.shape == SHAPE and field.pixel_size_um == 0.5
        assert np.array_equal(field.read(0), corrected.labels[:, :])
    done(folder, *ACTIONS[2:])
    labels = corrected_labels(folder, "f")
    assert labels.dtype == np.uint32 and (labels == 3).sum() == 800
    assert np.array_equal(labels, open_corrections(folder, "f").labels[:, :])


def test_a_label_image_that_is_left_of_a_removed_log_is_not_believed(folder):
    predicted = open_corrections(folder, "f").labels[:, :]
    corrected = done(folder, *ACTIONS[:2])
    write_labels(folder, "f", corrected.labels, corrected.revision)
    assert is_written(folder, "f")
    log_file(folder, "f").unlink()
    assert np.array_equal(corrected_labels(folder, "f"), predicted)
    for action in ACTIONS[3:5]:  # fewer actions, then as many of another log
        corrected = done(folder, action)
        assert not is_written(folder, "f")
        assert np.array_equal(corrected_labels(folder, "f"), corrected.labels[:, :])


def test_a_label_image_of_an_earlier_version_has_the_number_of_its_actions_alone(folder):
    labels = done(folder, *ACTIONS[:2]).labels[:, :]
    write_ome_tiff(labels_file(folder, "f"), labels, ["nucleus id"], description="corrected by hand, revision 2")
    assert is_written(folder, "f")
    log_file(folder, "f").unlink()
    done(folder, ACTIONS[3])
    assert not is_written(folder, "f")


def test_a_snapshot_does_not_change(folder):
    corrected = open_corrections(folder, "f")
    before = corrected.labels.snapshot()
    corrected.apply(ACTIONS[0])
    corrected.apply(ACTIONS[1])
    assert (before[:, :] == 1).sum() == 400 and (corrected.labels[:, :] == 1).sum() == 0


def test_undo_and_redo_restore_labels_types_and_checks(folder):
    states = [open_corrections(folder, "f").labels[:, :]]
    corrected = open_corrections(folder, "f")
    for action in ACTIONS[:4]:
        revision = corrected.revision
        append(folder, "f", corrected.apply(action), after=revision)
        states.append(corrected.labels[:, :])
    for state in states[-2::-1]:
        corrected = done(folder, Action("undo"))
        assert np.array_equal(corrected.labels[:, :], state)
    with pytest.raises(UserError, match="nothing to undo"):
        corrected.apply(Action("undo"))
    for state in states[1:]:
        corrected = done(folder, Action("redo"))
        assert np.array_equal(corrected.labels[:, :], state)
    done(folder, ACTIONS[4], Action("undo"), ACTIONS[5], Action("undo"))
    actions = read_actions(folder, "f")
    assert types_of(actions_in_force(actions)) == {} and not checked_mask(actions, SHAPE).any()
    corrected = done(folder, ACTIONS[4])  # a new action: nothing is left to redo
    assert not corrected.can_redo


def test_an_id_is_not_used_twice(folder):
    corrected = done(folder, Action("delete", (4,), ((130.0, 110.0),)), ACTIONS[3], Action("undo"), ACTIONS[3])
    assert set(np.unique(corrected.labels[:, :])) == {0, 1, 2, 3, 6}


def test_checked_regions_are_the_whole_field_or_outlines(folder):
    assert not checked_mask(read_actions(folder, "f"), SHAPE).any()
    done(folder, ACTIONS[5])
    mask = checked_mask(read_actions(folder, "f"), SHAPE)
    assert mask.sum() == 5000 and mask[:50, :100].all()
    done(folder, Action("check"), Action("uncheck", (), ACTIONS[5].points))
    assert np.array_equal(checked_mask(read_actions(folder, "f"), SHAPE), ~mask)
    done(folder, Action("uncheck"))
    assert not checked_mask(read_actions(folder, "f"), SHAPE).any()


def test_an_action_on_an_earlier_state_is_refused(folder):
    done(folder, ACTIONS[0])
    with pytest.raises(StaleError, match="revision 1, not 0"):
        append(folder, "f", ACTIONS[5], after=0)
    assert len(read_actions(folder, "f")) == 1


def test_a_line_that_was_cut_off_by_a_kill_is_dropped(folder):
    done(folder, *ACTIONS[:2])
    path = log_file(folder, "f")
    path.write_bytes(path.read_bytes()[:-30])
    assert len(read_actions(folder, "f")) == 1
    done(folder, ACTIONS[2])
    assert [a.action for a in read_actions(folder, "f")] == ["delete", "merge"]


def test_a_damaged_log_is_named(folder):
    done(folder, ACTIONS[0])
    good = log_file(folder, "f").read_text()
    for bad in ("{}\n", "x\n", good.replace('"delete"', '"explode"'), good.replace('"revision": 1', '"revision": 7')):
        log_file(folder, "f").write_text(bad)
        with pytest.raises(UserError, match=r"f\.jsonl: line 1"):
            read_actions(folder, "f")


def test_corrections_of_other_labels_are_refused(folder):
    done(folder, ACTIONS[0])
    write_ome_tiff(folder / "f_labels.ome.tif", np.zeros(SHAPE, np.uint32), ["nucleus id"])
    with pytest.raises(UserError, match="does not fit the predicted labels"):
        open_corrections(folder, "f")


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (Action("delete", (9,), ((15.0, 15.0),)), "no nucleus 9"),
        (Action("delete", (1,), ((15.0, 15000.0),)), "outside the field"),
        (Action("delete", (1,)), "no place"),
        (Action("merge", (1,), ((15.0, 15.0),)), "two nuclei"),
        (Action("draw", (), ((1.0, 1.0), (9.0, 9.0))), "three points"),
        (Action("type", (1,)), "a name"),
        (Action("explode", (), ((1.0, 1.0),)), "no correction"),
    ],
)
def test_impossible_actions_are_refused_and_change_nothing(folder, action, message):
    corrected = open_corrections(folder, "f")
    with pytest.raises(UserError, match=message):
        corrected.apply(action)
    assert corrected.revision == 0 and not corrected.can_undo


def test_a_field_without_labels_cannot_be_corrected(folder):
    with pytest.raises(UserError, match="write=labels"):
        open_corrections(folder, "g")
