"""Phenotype rules: presets, text files, and the class of a cell."""

import pandas as pd
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.phenotypes import Rules


def cells(*positive, markers=("cd19", "CD4", "CXCR5", "PD1", "CXCR3", "CD27")):
    """A table of cells, each given by the markers for which it is positive."""
    return pd.DataFrame([{m: m.upper() in p.split() for m in markers} for p in positive])


def test_tfh5_gives_the_papers_five_classes():
    rules = Rules.load("tfh5")
    assert list(rules.classes) == ["b", "tfh", "tfh217", "tfhl", "other"]
    found = rules.classify(cells("CD19", "CD4 CXCR5 PD1 CXCR3", "CD4 CXCR5 PD1", "CD4 PD1", "CD4", "", "CD19 CD4"))
    assert found.tolist() == ["b", "tfh", "tfh217", "tfhl", "other", "other", "other"]


def test_vanburen3_uses_cd27():
    rules = Rules.load("vanburen3")
    assert rules.classify(cells("CD19", "CD19 CD27", "CD4 CD27", "CD4")).tolist() == ["b", "other", "tfh", "other"]
    assert rules.markers == ["CD19", "CD4", "CD27"]


def test_the_first_rule_that_fits_applies():
    rules = Rules.parse("first = A+\nsecond = A+ B+\nthird = B+")
    table = cells("A B", "B", "", markers=("A", "B"))
    assert rules.classify(table).tolist() == ["first", "third", ""]


def test_rules_are_read_from_a_file_with_comments(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("# two classes\n\nt = CD3e+  HLA-DR-   # activated\nrest =\n", encoding="utf-8")
    assert Rules.load(file).classes == {"t": {"CD3E": True, "HLA-DR": False}, "rest": {}}


def test_a_missing_marker_is_named_in_the_error():
    with pytest.raises(UserError, match="need the marker CXCR5; the table has CD19, CD4"):
        Rules.load("tfh5").classify(cells("CD19", markers=("CD19", "CD4")))


def test_classes_keep_the_tables_index():
    table = cells("CD19", "CD4 PD1")
    table.index = ["x", "y"]
    assert Rules.load("tfh5").classify(table).to_dict() == {"x": "b", "y": "tfhl"}


def test_levels_and_compartments_are_words_of_a_rule():
    rules = Rules.parse("a = cd4BRIGHT CD8dim- HLA-DR@Ring+\nb = CD4bright@nucleus CD4+")
    assert rules.classes == {
        "a": {"CD4bright": True, "CD8dim": False, "HLA-DR@ring": True},
        "b": {"CD4bright@nucleus": True, "CD4": True},
    }
    assert rules.markers == ["CD4", "CD8", "HLA-DR@ring", "CD4@nucleus"]
    assert rules.with_two_cuts == ["CD4", "CD8", "CD4@nucleus"]
    assert Rules.parse("a = CD4bright").classify(pd.DataFrame({"CD4bright": [True, False]})).tolist() == ["a", ""]


def test_a_compartment_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UserError, match=r"rules, line 1.*CD4bright.*cell, membrane, cytoplasm, nucleus, ring"):
        Rules.parse("a = CD4@edge+")


@pytest.mark.parametrize("line", ["b", "b = CD19", "b = CD19@ring", "= CD19+", "a = CD4-", "b = CD19+, CD4-"])
def test_a_wrong_line_is_an_error_with_its_number(tmp_path, line):
    file = tmp_path / "mine.txt"
    file.write_text(f"a = CD4+\n# note\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"mine\.txt, line 3"):
        Rules.load(file)


def test_rules_without_any_rule_are_an_error():
    with pytest.raises(UserError, match="holds no rule"):
        Rules.parse("# nothing yet\n\n")
