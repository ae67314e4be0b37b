"""Corrections: what the log says is in force, and which part of a field is checked."""

import numpy as np
import pytest
import tifffile

from dedl_fastai.errors import UserError
from dedl_fastai.io.corrections import (
    Action,
    actions_in_force,
    checked_mask,
    checks,
    corrected_files,
    is_up_to_date,
    log_of,
    read_log,
    with_whole_nuclei,
)

SQUARE = ((2, 1), (6, 1), (6, 4), (2, 4))


def actions(*names):
    return [Action(name, points=points) for name, points in names]


def test_undone_actions_are_left_out_until_they_are_redone():
    names = ["draw", "delete", "undo", "redo", "undo", "undo", "redo", "merge", "redo"]
    found = actions_in_force(map(Action, names))
    assert [a.action for a in found] == ["draw", "merge"]  # a new action ends what can be redone
    assert actions_in_force([Action("undo"), Action("redo")]) == []


def test_the_checked_part_is_that_of_the_polygons_in_force():
    square = np.zeros((8, 9), bool)
    square[1:4, 2:6] = True
    np.testing.assert_array_equal(checked_mask(actions(("check", SQUARE)), (8, 9)), square)
    np.testing.assert_array_equal(checked_mask(actions(("check", None), ("uncheck", SQUARE)), (8, 9)), ~square)
    assert checked_mask(actions(("check", SQUARE), ("check", None)), (8, 9)).all()
    assert not checked_mask(actions(("check", SQUARE), ("undo", None)), (8, 9)).any()
    assert not checked_mask(actions(("check", None), ("uncheck", None)), (8, 9)).any()
    assert checks(actions(("check", SQUARE), ("uncheck", None))) == []
    assert checks(actions(("draw", SQUARE))) == []


def test_a_nucleus_is_checked_as_a_whole_if_most_of_it_is():
    labels = np.zeros((4, 12), np.int32)
    labels[1, 2:6], labels[1, 7:11] = 1, 9
    checked = np.zeros(labels.shape, bool)
    checked[:, 3:9] = True  # 3 of 4 pixels of nucleus 1, half of nucleus 9
    found = with_whole_nuclei(checked, labels)
    assert found[1].tolist() == [i in (2, 3, 4, 5, 6) for i in range(12)]
    np.testing.assert_array_equal(found[2], checked[2])


def test_a_line_cut_short_at_the_end_is_left_out_and_other_faults_are_errors(tmp_path):
    log = tmp_path / "a.jsonl"
    lines = [Action("check", revision=1).line, '{"action": "dra']
    log.write_text("\n".join(lines))
    assert read_log(log) == [Action("check", revision=1)]
    log.write_text("\n".join([*reversed(lines), ""]))
    with pytest.raises(UserError, match="line 1 is not an action"):
        read_log(log)


def test_an_empty_log_is_that_of_a_process_that_was_killed_at_once(tmp_path):
    (tmp_path / "a.jsonl").touch()
    assert read_log(tmp_path / "a.jsonl") == []


def test_regions_of_less_than_three_points_are_nothing():
    assert not checked_mask([Action("check", points=())], (4, 4)).any()


def test_corrected_fields_have_a_log(tmp_path):
    folder = tmp_path / "corrections"
    folder.mkdir()
    for name in ("a.ome.tif", "a.jsonl", "b.ome.tif", "c.jsonl"):
        (folder / name).touch()
    assert corrected_files(tmp_path) == {"a": folder / "a.ome.tif", "c": folder / "c.ome.tif"}
    assert corrected_files(folder) == {}
    assert not is_up_to_date(folder / "c.ome.tif", [])
    assert log_of(folder / "a.ome.tif") == folder / "a.jsonl"
    assert log_of(folder / "b.ome.tif") is None
    assert log_of(tmp_path / "a.ome.tif") is None


def test_a_label_image_says_which_actions_it_shows(tmp_path):
    path, plane = tmp_path / "a.ome.tif", np.zeros((4, 4), np.uint32)
    tifffile.imwrite(path, plane, metadata={"Description": "corrected by hand, revision 2"})
    assert is_up_to_date(path, actions(("draw", None), ("check", None)))
    assert not is_up_to_date(path, actions(("draw", None), ("check", None), ("undo", None)))
    assert not is_up_to_date(path, actions(("check", None)))
    assert not is_up_to_date(path, [])
