"""A part of the training fields: nested, patient by patient, and shown as often as all of them would be."""

from itertools import pairwise

import pandas as pd
import pytest

from dedl_fastai.data.cohort import Cohort
from dedl_fastai.data.subsets import draw_training_fields
from dedl_fastai.errors import UserError

FIELDS = [(f"p{p}_{i}", f"p{p}", "train") for p in range(4) for i in range(5)]
FIELDS += [("v_0", "v", "valid"), ("t_0", "t", "test")]


@pytest.fixture
def cohort(tmp_path):
    table = pd.DataFrame(FIELDS, columns=["field", "patient", "split"])
    return Cohort(table.assign(image="", mask="", labels=""), tmp_path, "manifest")


def kept(cohort):
    return set(cohort.part("train").table.field)


def test_smaller_parts_are_in_larger_ones_and_patients_come_one_after_the_other(cohort):
    parts = [draw_training_fields(cohort, n, seed=3) for n in (1, 4, 5, 12, 20)]
    names = [kept(part) for part in parts]
    assert [len(n) for n in names] == [1, 4, 5, 12, 20]
    assert all(small < large for small, large in pairwise(names))
    assert len({n.split("_")[0] for n in names[2]}) == 1 and len({n.split("_")[0] for n in names[3]}) == 3
    assert all(set(part.part(s).table.field) == {f"{s[0]}_0"} for part in parts for s in ("valid", "test"))
    assert draw_training_fields(cohort, 4, seed=3).table.equals(parts[1].table)
    assert kept(draw_training_fields(cohort, 4, seed=4)) != names[1]


def test_an_epoch_has_as_many_items_as_with_all_fields(cohort):
    assert [draw_training_fields(cohort, n).repeats for n in (1, 4, 7, 20)] == pytest.approx([20, 5, 20 / 7, 1])
    assert len(kept(draw_training_fields(cohort, share=0.25))) == 5
    assert len(kept(draw_training_fields(cohort, share=0.001))) == 1


def test_only_fields_that_can_be_used_are_drawn_and_counted(cohort):
    usable = cohort.table.field.isin([f"p{p}_{i}" for p in range(4) for i in range(2)])
    part = draw_training_fields(cohort, 3, usable=usable)
    assert len(kept(part)) == 3 and kept(part) <= set(cohort.table.field[usable])
    assert len(part.left_out) == 5 and part.repeats == pytest.approx(8 / 3)
    assert len(kept(draw_training_fields(cohort, share=0.5, usable=usable))) == 4
    with pytest.raises(UserError, match="8 training fields with masks or labels"):
        draw_training_fields(cohort, 9, usable=usable)


@pytest.mark.parametrize(
    ("how", "says"),
    [({"n": 21}, "20 training fields"), ({"share": 0}, "above 0"), ({"n": 2, "share": 0.5}, "a number of fields, or")],
)
def test_impossible_parts_are_refused(cohort, how, says):
    with pytest.raises(UserError, match=says):
        draw_training_fields(cohort, **how)
