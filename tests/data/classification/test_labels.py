"""Labels of fields: from given labels, phenotypes, 0/1 markers, thresholds and gates; counts, warnings, files."""

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.data import Cohort, field_labels, write_labels
from dedl_fastai.errors import UserError
from dedl_fastai.phenotypes import Rules

RULES = Rules.parse("b = CD19+ CD4-\nt = CD19- CD4+\nother =")


@pytest.fixture
def measured(tmp_path):
    """Build a cohort from {field: cell table, or None for a field without a table}."""

    def make(tables, labels=""):
        rows = []
        for name, table in tables.items():
            path = tmp_path / f"{name}_cells.txt"
            if table is not None:
                table.to_csv(path, sep="\t", index=False)
            rows.append({"field": name, "cells": "" if table is None else str(path)})
        table = pd.DataFrame(rows).assign(patient="p", image="i.tif", mask="", labels=labels, split="")
        return Cohort(table, tmp_path, "manifest")

    return make


def cells(**columns):
    return pd.DataFrame(columns)


def phenotyped(*names):
    return pd.DataFrame({"Sample Name": "a.im3", "Phenotype": names, "Cell ID": range(1, len(names) + 1)})


def counts(labels, name):
    return labels.counts.loc[name].to_dict()


def test_binary_markers_of_any_case_give_classes_by_the_rules(measured):
    cohort = measured({"f": cells(cd19=[1, 1, 0, 0], CD4=[0, 1, 1, 0]), "g": cells(Cd19=[0, 0], cd4=[1, 1])})
    labels = field_labels(cohort, RULES)
    assert labels.vocab == ["b", "t", "other"] and labels.rules_text == RULES.text
    assert counts(labels, "f") == {"b": 1, "t": 1, "other": 2} and counts(labels, "g") == {"b": 0, "t": 2, "other": 0}
    assert labels.cohort.table.labels.tolist() == ["b;t;other", "t"]
    assert labels.matrix.loc["g"].tolist() == [False, True, False] and labels.matrix.dtypes.eq(bool).all()
    assert "CD19, CD4 by the tables' 0/1 columns" in labels.how and "from 1 cell on" in labels.how


def test_demo_tables_give_the_papers_five_classes(tiny_cohort):
    labels = field_labels(tiny_cohort)
    assert labels.vocab == ["b", "tfh", "tfh217", "tfhl", "other"] and len(labels.matrix) == 7
    assert (labels.counts.sum(axis=1) == [len(labels.cells[f]) for f in labels.counts.index]).all()
    assert field_labels(tiny_cohort, "vanburen3").vocab == ["b", "tfh", "other"]


@pytest.mark.parametrize(("min_cells", "expected"), [(1, "b;t;other"), (2, "t;other"), (3, "other"), (4, "")])
def test_a_class_is_present_from_min_cells_on(measured, min_cells, expected):
    table = cells(cd19=[1, 0, 0, 0, 0, 0], cd4=[0, 1, 1, 0, 0, 0])
    labels = field_labels(measured({"f": table}), RULES, min_cells)
    assert labels.cohort.table.labels.tolist() == [expected]
    assert counts(labels, "f") == {"b": 1, "t": 2, "other": 3}


def test_phenotypes_are_the_classes_and_all_others_are_one_class_at_the_end(measured):
    tables = {"f": phenotyped("B", "B", "", "Other"), "g": phenotyped("Helper T", "OTHER", "others")}
    labels = field_labels(measured(tables))
    assert labels.vocab == ["B", "Helper T", "other"] and labels.rules_text == ""
    assert counts(labels, "f") == {"B": 2, "Helper T": 0, "other": 1}
    assert counts(labels, "g") == {"B": 0, "Helper T": 1, "other": 2}
    assert "phenotypes" in labels.how and "1 cells without a phenotype" in labels.how


def test_fields_get_their_own_cells_from_a_merged_table(measured, tmp_path):
    table = phenotyped("B", "T", "T").assign(**{"Sample Name": ["f.im3", "f.im3", "g.im3"]})
    labels = field_labels(measured({"f": table, "g": table}))
    assert counts(labels, "f") == {"B": 1, "T": 1} and counts(labels, "g") == {"B": 0, "T": 1}
    with pytest.raises(UserError, match=r"h_cells.txt is a merged table without cells of the field 'h'"):
        field_labels(measured({"h": table}))


@pytest.mark.parametrize("thresholds", ["CD19=1.2, cd-4=3", {"CD19": 1.2, "CD4": 3}])
def test_given_thresholds_are_applied_to_intensities(measured, thresholds):
    table = pd.DataFrame(
        {
            "Nucleus CD19 (Opal 520) Mean": [9.0, 9, 9, 9],
            "Entire Cell CD19 (Opal 520) Mean (Normalized Counts, Total Weighting)": [1.3, 1.2, 5, np.nan],
            "cd4_mean": [3.0, 3.1, 4, 9],
            "CD45 Mean": [0.0, 9, 0, 0],
        }
    )
    labels = field_labels(measured({"f": table}), RULES, thresholds=thresholds)
    assert counts(labels, "f") == {"b": 1, "t": 2, "other": 1}  # a value at the threshold is not above it, nor is NaN
    assert labels.thresholds == {"CD19": 1.2, "CD4": 3.0}
    assert "CD19 positive above 1.2 (given) in 'Entire Cell CD19" in labels.how


def test_thresholds_override_phenotypes(measured):
    table = phenotyped("B", "T").assign(cd19_mean=[2.0, 0.0], cd4_mean=[0.0, 2.0])
    assert field_labels(measured({"f": table}), RULES).vocab == ["B", "T"]
    assert field_labels(measured({"f": table}), RULES, thresholds="CD19=1,CD4=1").vocab == ["b", "t", "other"]


def test_gates_are_determined_without_test_fields(measured):
    dark, bright = cells(cd19_mean=[1.0, 2, 10], cd4=[0, 0, 0]), cells(cd19_mean=[90.0, 91, 100], cd4=[0, 0, 0])
    cohort = measured({"f": dark, "g": bright})
    alone = field_labels(cohort, RULES).thresholds["CD19"]
    split = cohort.with_split(["train", "test"])
    assert 2 <= field_labels(split, RULES).thresholds["CD19"] < 10 < alone
    assert "(mixture over 3 cells)" in field_labels(split, RULES).how
    assert counts(field_labels(split, RULES), "g")["b"] == 3


def test_gates_are_of_the_cells_of_all_fields(measured):
    bright, dark = cells(cd19_mean=[10.0, 11, 12], cd4=[0, 0, 0]), cells(cd19_mean=[1.0, 2, 1.5], cd4=[0, 1, 0])
    labels = field_labels(measured({"f": bright, "g": dark}), RULES)
    assert 2 <= labels.thresholds["CD19"] < 10 and list(labels.thresholds) == ["CD19"]
    assert counts(labels, "f") == {"b": 3, "t": 0, "other": 0}  # on this field alone, no cell would be positive
    assert counts(labels, "g") == {"b": 0, "t": 1, "other": 2}
    assert "(mixture over 6 cells of 2 fields)" in labels.how and "CD4 by the tables' 0/1 columns" in labels.how


def test_a_marker_without_any_spread_is_never_positive(measured):
    labels = field_labels(measured({"f": cells(cd19_mean=[3.0, 3], cd4=[0, 1])}), RULES)
    assert counts(labels, "f") == {"b": 0, "t": 1, "other": 1} and "never positive" in labels.how


def test_consolidated_phenotype_columns_are_markers(measured):
    table = pd.DataFrame({"Phenotype CD19": ["CD19+", "CD19-", ""], "Phenotype CD4": ["CD4-", "CD4+", "CD4-"]})
    assert counts(field_labels(measured({"f": table}), RULES), "f") == {"b": 1, "t": 1, "other": 1}


def test_given_labels_are_used_unchanged(measured):
    cohort = measured({"f": None, "g": None, "h": None}, labels=["CK+; other;CK+", "CD8+", " ; "])
    labels = field_labels(cohort)
    assert labels.vocab == ["CD8+", "CK+", "other"] and labels.counts.isna().all(axis=None)
    assert labels.matrix.to_numpy().tolist() == [[False, True, True], [True, False, False]]
    assert labels.cohort.table.field.tolist() == ["f", "g"]  # h has no labels
    assert labels.cohort.table.labels.tolist() == ["CK+;other", "CD8+"]


def test_given_labels_have_the_order_of_the_rules(measured):
    cohort = measured({"f": None, "g": None}, labels=["tfh;b", "other"])
    assert field_labels(cohort).vocab == ["b", "tfh", "other"]


def test_fields_without_a_table_are_left_out(measured, caplog):
    labels = field_labels(measured({"f": cells(cd19=[1], cd4=[0]), "g": None}), RULES)
    assert labels.cohort.table.field.tolist() == ["f"] and "1 of 2 fields have no cell table" in caplog.text


def test_classes_in_all_or_no_fields_cause_warnings(measured):
    labels = field_labels(measured({"f": cells(cd19=[1], cd4=[0]), "g": cells(cd19=[1, 0], cd4=[0, 0])}), RULES)
    assert labels.prevalence.to_dict() == {"b": 1.0, "t": 0.0, "other": 0.5}
    always, never = labels.warnings
    assert "'b' is present in every one of the 2 fields" in always and "'t' is present in none" in never


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ({"f": None}, {}, "neither labels nor cell tables"),
        ({"f": cells(cd19=[1], x=[2])}, {}, r"f_cells.txt: the rules need the marker CD4.*but cd19"),
        (
            {"f": cells(x=[2], cd19_mean=[1], pd1_mean=[3])},
            {},
            r"the rules need the marker CD4.*but cd19, pd1:",
        ),
        ({"f": phenotyped("B"), "g": cells(cd19=[1], cd4=[0])}, {}, "g_cells.txt has no Phenotype column"),
        ({"f": cells(cd19=[1], cd4=[0])}, {"min_cells": 0}, "min_cells=0"),
        (
            {"f": cells(cd19_mean=[1], x=[2])},
            {"thresholds": "CD8=3"},
            "given for CD8, which no rule asks for",
        ),
        ({"f": cells(cd19_mean=[1], x=[2])}, {"thresholds": "CD19"}, "write CD19=1.2,CD4=3"),
    ],
)
def test_cohort_that_cannot_be_labelled_is_an_error(measured, tables, options, message):
    with pytest.raises(UserError, match=message):
        field_labels(measured(tables), RULES, **options)


def test_labels_are_written_with_counts_prevalences_and_rules(measured, tmp_path):
    cohort = measured({"f": cells(cd19=[1, 1, 0], cd4=[0, 0, 1]), "g": cells(cd19=[0], cd4=[1])})
    labels = field_labels(cohort, RULES)
    write_labels(labels, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "labels.csv", keep_default_na=False)
    assert table.labels.tolist() == ["b;t", "t"] and table.image.tolist() == ["i.tif", "i.tif"]
    assert table[["b", "t", "other"]].to_numpy().tolist() == [[1, 1, 0], [0, 1, 0]]
    assert table[["count b", "count t", "count other"]].to_numpy().tolist() == [[2, 1, 0], [0, 1, 0]]
    shares = pd.read_csv(tmp_path / "out" / "prevalence.csv").set_index("class")
    assert shares.share.to_dict() == {"b": 0.5, "t": 1.0, "other": 0.0} and shares.cells.tolist() == [2, 2, 0]
    text = (tmp_path / "out" / "rules.txt").read_text(encoding="utf-8")
    assert labels.how in text and Rules.load(tmp_path / "out" / "rules.txt").classes == RULES.classes
