"""Which fields and regions to look at next: the most uncertain and doubtful ones, but not several that are alike."""

import pytest

from dedl_fastai.io.corrections import Action
from dedl_fastai.predict.suggest import suggested, suggested_regions


def record(name, uncertainty, doubt, cells=100, area=5):
    counts = [0] * 60
    counts[area] = cells
    return {"field": name, "uncertainty": uncertainty, "doubt": doubt, "cells": cells, "areas": {"counts": counts}}


def test_uncertainty_times_doubt_decides_which_is_first():
    records = [record("a", 0.2, 0.05), record("b", 0.1, 0.2, area=9), record("c", 0.3, 0.01, cells=30)]
    assert suggested(records, 1) == ["b"]
    assert sorted(suggested(records, 9)) == ["a", "b", "c"]


def test_a_field_like_a_chosen_one_comes_later():
    twins = [record("a", 0.2, 0.10), record("a2", 0.2, 0.099)]
    records = [*twins, record("b", 0.05, 0.1, cells=20, area=20), record("c", 0.02, 0.1, cells=900, area=12)]
    assert suggested(records, 4) == ["a", "b", "c", "a2"]


def test_checked_fields_and_fields_without_nuclei_are_left_out():
    records = [record("a", 0.2, 0.1), record("b", 0.1, 0.1), record("empty", 0.9, 0.0, cells=0)]
    assert suggested(records, 5, done=["a"]) == ["b"]
    assert suggested([], 5) == [] == suggested(records, 0)


@pytest.mark.parametrize("n", [1, 2])
def test_records_of_earlier_versions_are_ranked_by_uncertainty(n):
    records = [{k: v for k, v in record(name, u, 0).items() if k != "doubt"} for name, u in (("a", 0.1), ("b", 0.2))]
    assert suggested(records, n)[0] == "b"


def region(x0, uncertainty, doubt, cells=100, area=50.0):
    box = {"x0": x0, "y0": 0, "x1": x0 + 256, "y1": 256}
    return {**box, "cells": cells, "area": area, "uncertainty": uncertainty, "doubt": doubt}


def test_regions_of_all_fields_are_ranked_together_and_like_ones_come_later():
    records = [
        {"field": "a", "regions": [region(0, 0.2, 0.10), region(256, 0.2, 0.099)]},
        {
            "field": "b",
            "regions": [region(0, 0.05, 0.1, cells=20, area=200), region(256, 0.02, 0.1, cells=900, area=120)],
        },
        {"field": "earlier version"},
    ]
    ranked = suggested_regions(records, 4)
    assert [(r["field"], r["x0"]) for r in ranked] == [("a", 0), ("b", 0), ("b", 256), ("a", 256)]
    assert suggested_regions(records, 1) == ranked[:1] and suggested_regions([], 3) == []


def test_regions_whose_middle_is_checked_are_left_out():
    records = [{"field": "a", "regions": [region(0, 0.2, 0.1), region(256, 0.1, 0.1)]}]
    check = Action("check", points=((0, 0), (250, 0), (250, 256), (0, 256)), revision=1)

    def left(*actions):
        return [r["x0"] for r in suggested_regions(records, 2, {"a": actions})]

    assert left() == [0, 256] and left(check) == [256]
    assert left(check, Action("uncheck", points=check.points, revision=2)) == [0, 256]
    assert left(check, Action("undo", revision=2)) == [0, 256]
    assert left(Action("check", revision=1)) == []
    assert left(Action("check", revision=1), Action("uncheck", points=check.points, revision=2)) == [0]
