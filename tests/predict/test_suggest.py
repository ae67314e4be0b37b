"""Which fields to look at next: the most uncertain and doubtful ones, but not several that are alike."""

import pytest

from dedl_fastai.predict.suggest import suggested


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
