"""Tables as CSV: the text of pandas, and values that are read back unchanged."""

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.io.csv_file import write_csv


@pytest.fixture
def table(rng):
    values = rng.lognormal(size=(5, 2))
    return pd.DataFrame(
        {
            "label": np.arange(1, 6),
            "area, um2": values[:, 0],
            "mean": values[:, 1].astype(np.float32),
            "odd": [0.0, np.nan, np.inf, -np.inf, -1.5],
            "touches_border": [True, False, True, True, False],
            "phenotype": pd.Categorical(["CD4, dim", None, 'a "b"', "Größe", "CD4, dim"]),
        }
    )


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_the_text_is_that_of_pandas(tmp_path, table, rows):
    write_csv(tmp_path / "a.csv", table[:rows])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == table[:rows].to_csv(index=False, lineterminator="\n")


def test_line_breaks_in_names_and_values_are_quoted(tmp_path):
    table = pd.DataFrame({"DAPI\nslice": [1.5, 2.5], "name": ["a\rb", 'c"d']})
    write_csv(tmp_path / "a.csv", table)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a.csv"), table)


def test_parts_of_a_long_table_follow_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr("dedl_fastai.io.csv_file._ROWS", 3)
    table = pd.DataFrame({"x": np.arange(8) / 7, "type": pd.Categorical(list("abcabcab"))})
    write_csv(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_text() == table.to_csv(index=False, lineterminator="\n")


def test_small_and_large_numbers_are_read_back_unchanged(tmp_path):
    table = pd.DataFrame({"x": [1e-7, 1.5e300, 5e-324, 1 / 3, 123456789.125]})
    write_csv(tmp_path / "a.csv", table)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "a.csv", float_precision="round_trip"), table, check_exact=True
    )
