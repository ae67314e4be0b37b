"""`dedl-fastai neighbours`: tables and pictures from results of predict and inForm tables, groups, and mistakes."""

import numpy as np
import pandas as pd
import pytest

from .results import contents, dedl

QUICK = ["--permutations", "50"]


def cells_of(seed, together):
    """A field of 120 cells, two of three of them of type a; b is at the left if `together`."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 400, (2, 120))
    order = np.argsort(x) if together else rng.permutation(120)
    types = np.full(120, "a", dtype=object)
    types[order[:40]] = "b"
    return x, y, types


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Ten patients with a table each, in inForm's form; b is together in the first five."""
    folder = tmp_path_factory.mktemp("exports")
    for i in range(10):
        x, y, types = cells_of(i, together=i < 5)
        table = {"Slide ID": f"p{i}", "Cell X Position": x, "Cell Y Position": y, "Phenotype": types}
        pd.DataFrame(table).to_csv(folder / f"p{i}_[1,2]_cell_seg_data.txt", sep="\t", index=False)
    groups = "".join(f"p{i},{'lupus' if i < 5 else 'healthy'}\n" for i in range(10))
    (folder / "groups.csv").write_text(f"patient,group\n{groups}")
    return folder


def test_groups_of_patients_are_compared(exports, tmp_path, drawn):
    result = dedl("neighbours", exports, "--groups", exports / "groups.csv", "--out", tmp_path / "n", *QUICK)
    assert result.exit_code == 0, result.output
    assert set(contents(tmp_path / "n")) == {"neighbours.csv", "neighbours.png", "groups.csv", "groups.png"}
    of_patients = pd.read_csv(tmp_path / "n" / "neighbours.csv")
    assert len(of_patients) == 10 * 4 and (of_patients["fields"] == 1).all()
    row = pd.read_csv(tmp_path / "n" / "groups.csv").set_index(["from", "to"]).loc[("b", "b")]
    assert (row["group"], row["versus"]) == ("healthy", "lupus") and row["high"] < 0
    assert row["p"] == pytest.approx(2 / 252, rel=1e-4) and row["q"] < 0.05
    lines = result.stdout.splitlines()
    assert any(line.split()[:4] == ["b", "and", "b", f"{row['effect']:+.3f}"] for line in lines)
    assert "healthy less lupus" in result.stdout and "cannot" not in result.stdout


def test_results_of_predict_are_read_and_agree_with_the_table_of_a_field(finished, tmp_path):
    flags = ["--patient", r"\[.*", "--out", tmp_path / "n"]  # each field a patient
    assert dedl("neighbours", finished, *flags).exit_code == 0
    of_patients = pd.read_csv(tmp_path / "n" / "neighbours.csv").set_index(["from", "to"])
    for path in finished.glob("*_neighbours.csv"):
        of_field = pd.read_csv(path).set_index(["from", "to"])
        name = path.name.removesuffix("_neighbours.csv")
        table = of_patients[of_patients["patient"] == name[name.index("[") :]]
        known = of_field[of_field["observed"].notna()].index.intersection(table.index)
        np.testing.assert_allclose(table.loc[known, "observed"], of_field.loc[known, "observed"])


def test_few_patients_are_said_and_unknown_ones_left_out(exports, tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("patient,group\np0,lupus\np1,lupus\np8,healthy\np9,healthy\np77,healthy\n")
    result = dedl("neighbours", exports, "--groups", groups, "--out", tmp_path / "n", *QUICK)
    assert result.exit_code == 0 and "smallest possible p is 0.33" in result.stdout
    assert pd.read_csv(tmp_path / "n" / "groups.csv")["patients"].tolist() == [2, 2, 2]


def test_tissue_of_inform_and_positions_in_pixels(exports, tmp_path):
    table = pd.read_csv(exports / "p0_[1,2]_cell_seg_data.txt", sep="\t")
    table = table.assign(**{"Tissue Category": table["Phenotype"], "Nucleus Area (pixels)": 9})
    table.to_csv(tmp_path / "f_cell_seg_data.txt", sep="\t", index=False)
    assert dedl("neighbours", tmp_path, "--out", tmp_path / "n", *QUICK).exit_code == 0
    in_pixels = pd.read_csv(tmp_path / "n" / "neighbours.csv")
    assert (in_pixels["p"] == 1).all()  # each tissue has a single type
    assert dedl("neighbours", tmp_path, "--out", tmp_path / "m", "--pixel-size", "0.5", *QUICK).exit_code == 0
    assert (pd.read_csv(tmp_path / "m" / "neighbours.csv")["observed"] > 2 * in_pixels["observed"]).any()


def test_a_field_without_cells_has_no_unit_of_positions(finished, tmp_path):
    tables = sorted(finished.glob("*_cells.csv"))[:2]
    in_pixels = pd.read_csv(tables[0]).drop(columns=["x_um", "y_um"])
    in_pixels.to_csv(tmp_path / "a_cells.csv", index=False)
    pd.read_csv(tables[1]).head(0).to_csv(tmp_path / "b_cells.csv", index=False)
    paths = [tmp_path / "a_cells.csv", tmp_path / "b_cells.csv"]
    result = dedl("neighbours", *paths, "--out", tmp_path / "n", *QUICK)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,group\np0,a\n", "no column patient"),
        ("patient,group\np0,a\np0,b\n", "in two groups"),
        ("patient,group\nq0,a\n", "none of the patients"),
        ("patient,group\np0,a\np1,a\n", "two groups can be compared"),
    ],
)
def test_unusable_tables_of_groups_are_one_sentence(exports, tmp_path, text, says):
    (tmp_path / "g.csv").write_text(text)
    result = dedl("neighbours", exports, "--groups", tmp_path / "g.csv", "--out", tmp_path / "n", *QUICK)
    assert result.exit_code == 2 and says in result.stderr and not (tmp_path / "n").exists()


def test_tables_without_types_or_positions_are_refused(exports, tmp_path):
    table = pd.read_csv(exports / "p0_[1,2]_cell_seg_data.txt", sep="\t")
    for column, says in (("Phenotype", "no types of cells"), ("Cell X Position", "no positions")):
        table.drop(columns=column).to_csv(tmp_path / "f_cell_seg_data.txt", sep="\t", index=False)
        result = dedl("neighbours", tmp_path, "--out", tmp_path / "n")
        assert result.exit_code == 2 and says in result.stderr
    result = dedl("neighbours", exports, "--radius", "0", "--out", tmp_path / "n")
    assert result.exit_code == 2 and "--radius 0" in result.stderr
