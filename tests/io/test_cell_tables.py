"""`read_cell_table` and `read_outlines`: inForm's tables in all locales and Van Buren's two tables."""

import numpy as np
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.io import read_cell_table, read_outlines

DAPI = "Nucleus DAPI Mean (Normalized Counts, Total Weighting)"
COLUMNS = ["Path", "Sample Name", "Tissue Category", "Phenotype", "Cell ID", "Cell X Position", "Cell Y Position"]
COLUMNS += ["Distance from Tissue Category Edge (pixels)", "Nucleus Area (percent)", DAPI, "Slide ID", "Confidence"]
ROWS = [
    [r"C:\P", "a.im3", "Tumor", "B", "1", "268", "6", "#N/A", "0.17 %", "31.470", "0929309", "97.57 %"],
    [r"C:\P", "a.im3", "Stroma", "CD8+", "2", "12.5", "61", "3.5", "0.04 %", "0.125", "0929309", "100.00 %"],
    [r"C:\P", "a.im3", "Tumor", "", "3", "0.5", "7", "12", "1.20 %", "1200.5", "0929309", "#N/A"],
]


def written(path, columns=COLUMNS, rows=ROWS, sep="\t", end="\n", encoding="utf-8"):
    text = end.join(sep.join(line) for line in [columns, *rows]) + end
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a_[1,2]_cell_seg_data.txt"


def assert_is_the_table(table):
    assert list(table.columns) == COLUMNS
    np.testing.assert_array_equal(table["Cell ID"], [1, 2, 3])
    np.testing.assert_array_equal(table["Cell X Position"], [268, 12.5, 0.5])
    np.testing.assert_array_equal(table["Distance from Tissue Category Edge (pixels)"], [np.nan, 3.5, 12])
    np.testing.assert_allclose(table["Nucleus Area (percent)"], [0.0017, 0.0004, 0.012])
    np.testing.assert_allclose(table[DAPI], [31.47, 0.125, 1200.5])
    np.testing.assert_allclose(table["Confidence"], [0.9757, 1, np.nan])
    assert list(table["Phenotype"]) == ["B", "CD8+", ""]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old mac"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_numbers_percents_and_missing_values(path, end, encoding):
    assert_is_the_table(read_cell_table(written(path, end=end, encoding=encoding)))


@pytest.mark.parametrize("sep", ["\t", ";"])
def test_decimal_comma(path, sep):
    rows = [[v.replace(".", ",") if v != "a.im3" else v for v in row] for row in ROWS]
    columns = [c.replace("(Normalized Counts, Total Weighting)", "(NC)") for c in COLUMNS]
    table = read_cell_table(written(path, columns, rows, sep=sep))
    assert_is_the_table(table.set_axis(COLUMNS, axis=1))


def test_comma_separated_table_with_quoted_names(path):
    table = read_cell_table(written(path, [f'"{c}"' for c in COLUMNS], sep=","))
    assert_is_the_table(table)


def test_decimal_commas_and_whole_numbers_in_one_column(path):
    table = read_cell_table(written(path, ["Cell ID", "X"], [["1", "12"], ["2", "0,5"], ["3", "1e-3"]]))
    np.testing.assert_array_equal(table["X"], [12, 0.5, 0.001])


def test_latin_1_names_are_read(path):
    table = read_cell_table(written(path, ["Cell ID", "Fläche (µm)"], [["1", "2,5"]], encoding="latin-1"))
    assert table["Fläche (µm)"].tolist() == [2.5]


def test_slide_id_keeps_its_leading_zero(path):
    assert read_cell_table(written(path))["Slide ID"].tolist() == ["0929309"] * 3


def test_the_inform_version_is_taken_out_of_the_header(path):
    rows = [[*row, ""] for row in ROWS]
    table = read_cell_table(written(path, [*COLUMNS, "inForm 2.3.6267.15036"], rows))
    assert_is_the_table(table)
    assert table.attrs["inform_version"] == "2.3.6267.15036"
    assert read_cell_table(written(path)).attrs["inform_version"] == ""


@pytest.mark.filterwarnings("ignore:Length of header")
def test_lines_with_a_trailing_tab_do_not_shift_the_columns(path):
    table = read_cell_table(written(path, rows=[[*row, ""] for row in ROWS]))
    assert table["Cell ID"].tolist() == [1, 2, 3]


def test_a_phenotype_called_na_stays_text(path):
    table = read_cell_table(written(path, ["Cell ID", "Phenotype"], [["1", "NA"], ["2", "#N/A"], ["3", " other "]]))
    assert table["Phenotype"].tolist() == ["NA", "", "other"]


def test_phenotypes_that_look_like_numbers_stay_text(path):
    table = read_cell_table(written(path, ["Cell ID", "Phenotype"], [["1", "217"], ["2", "17"]]))
    assert table["Phenotype"].tolist() == ["217", "17"]


def test_merged_table_keeps_the_sample_name_of_each_cell(path):
    rows = [[*ROWS[0][:1], f"{name}.im3", *ROWS[0][2:]] for name in ("P1_[1,2]", "P1_[3,4]")]
    table = read_cell_table(written(path, rows=rows))
    assert table["Sample Name"].tolist() == ["P1_[1,2].im3", "P1_[3,4].im3"]
    assert table["Cell ID"].tolist() == [1, 1]


def test_consolidated_table_has_one_text_column_per_marker(path):
    columns = ["Sample Name", "Phenotype CD8", "Phenotype FoxP3", "Cell ID"]
    rows = [["a.im3", "CD8+", "FoxP3-", "1"], ["a.im3", "CD8-", "#N/A", "2"]]
    table = read_cell_table(written(path, columns, rows))
    assert table["Phenotype CD8"].tolist() == ["CD8+", "CD8-"]
    assert table["Phenotype FoxP3"].tolist() == ["FoxP3-", ""]


def test_data_measured_has_one_numeric_column_per_marker(tmp_path):
    columns = ["", "listname", "cd19", "cd4", "cd27"]
    rows = [["1", "Cell1", "1", "0", "0"], ["2", "Cell2", "0", "1", "1"]]
    table = read_cell_table(written(tmp_path / "P1_dataMeasured", columns, rows))
    assert list(table.columns) == columns[1:]
    assert table["listname"].tolist() == ["Cell1", "Cell2"]
    assert table[["cd19", "cd4", "cd27"]].to_numpy().tolist() == [[1, 0, 0], [0, 1, 1]]


def test_data_labels_give_each_cell_its_outline_as_y_x(tmp_path):
    points = {"Cell2": [(10.5, 3.25), (12, 4)], "Cell1": [(1, 2), (3, 4), (5, 6)]}  # (X, Y)
    rows = [[k, str(x), str(y)] for k, xy in points.items() for x, y in xy]
    rows = [[str(i + 1), *row] for i, row in enumerate(rows)]
    outlines = read_outlines(written(tmp_path / "P1_datalabels", [" ", "Label", "X", "Y"], rows))
    assert list(outlines) == ["Cell2", "Cell1"]
    np.testing.assert_array_equal(outlines["Cell2"], [(3.25, 10.5), (4, 12)])
    np.testing.assert_array_equal(outlines["Cell1"], [(2, 1), (4, 3), (6, 5)])


def test_outlines_of_another_table_name_the_missing_columns(path):
    with pytest.raises(UserError, match="Label, X, Y") as error:
        read_outlines(written(path))
    assert path.name in str(error.value)


def test_the_demo_cohort_tables_agree_with_each_other(tiny_folder):
    measured = sorted(tiny_folder.rglob("*_dataMeasured"))
    assert len(measured) == 7
    for path in measured:
        name = path.name.replace(
            "_dataMeasured", "_datalabels"
        )  # it contains brackets, which rglob takes for a pattern
        outlines = next(read_outlines(p) for p in tiny_folder.rglob("*_datalabels") if p.name == name)
        assert set(outlines) == set(read_cell_table(path)["listname"])
        assert all(o.shape == (32, 2) for o in outlines.values())


def test_a_table_with_only_a_header_has_no_rows(path):
    table = read_cell_table(written(path, rows=[]))
    assert len(table) == 0
    assert list(table.columns) == COLUMNS


@pytest.mark.parametrize(
    "content, message",
    [(b"just one line of words", "not a table"), (b"a\tb\0\x01\x02", "binary"), (b"", "0 bytes")],
)
def test_a_file_that_is_not_a_table_is_a_user_error_naming_the_file(path, content, message):
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_cell_table(path)
    assert path.name in str(error.value)


def test_a_missing_table_is_a_user_error_naming_the_file(path):
    with pytest.raises(UserError, match="does not exist") as error:
        read_cell_table(path)
    assert path.name in str(error.value)
