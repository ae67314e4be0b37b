"""Gates: cut-offs of constructed markers, the reasons for none, slides, shifts, two cut-offs, and gates.json."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.phenotypes import GateOptions, Gates, Origin, Rules, classify_cells, fit_gates


def marker(negative=900, positive=100, bright=0, level=1.0, seed=0):
    """Intensities: negative cells around `level`, positive ones around 8, bright ones around 60 times of it."""
    rng = np.random.default_rng(seed)
    sizes = {1: negative, 8: positive, 60: bright}
    return np.concatenate([level * m * rng.lognormal(0, 0.3, n) for m, n in sizes.items()])


def table(**markers):
    return pd.DataFrame({f"Cell {name} mean": values for name, values in markers.items()})


def gate(values, **options):
    cells = {"f": table(CD4=values)}
    return fit_gates(cells, ["CD4"], GateOptions(**options)).of()["CD4"]


@pytest.mark.parametrize("method", ["mixture", "otsu"])
@pytest.mark.parametrize(("negative", "positive"), [(900, 100), (500, 500), (980, 20)])
def test_the_cut_is_between_the_groups(method, negative, positive):
    found = gate(marker(negative, positive), method=method)
    assert 2 < found.cut < 6 and abs(found.positive - positive) <= 0.01 * negative
    assert found.verdict == "well separated" and found.overlap < 0.01 and found.in_doubt < 0.02
    assert f"Positive above {found.cut:.4g}" in found.statement and "in doubt" in found.statement


def test_groups_that_overlap_are_called_so():
    rng = np.random.default_rng(1)
    near = gate(np.exp(np.concatenate([rng.normal(0, 0.4, 600), rng.normal(1.3, 0.4, 400)])))
    assert near.verdict == "partly separated" and 0.05 < near.overlap < 0.2 and near.in_doubt > 0.05


@pytest.mark.parametrize("skew", [0.0, 0.5])
def test_a_marker_without_positive_cells_has_no_gate(skew):
    rng = np.random.default_rng(2)
    found = gate(rng.lognormal(0, 0.3, 3000) + rng.exponential(skew, 3000) if skew else rng.lognormal(0, 0.3, 3000))
    assert found.cut is None and found.positive == 0
    assert found.statement.startswith("No gate: the intensities of the 3000 cells have one peak")


def test_half_a_percent_of_positive_cells_are_found_or_the_marker_says_why_not():
    clear = gate(marker(3980, 20))
    assert 2 < clear.cut < 6 and clear.positive == pytest.approx(20, abs=3)
    close = gate(np.concatenate([marker(2985, 0), 2.2 * marker(15, 0)]))
    assert close.cut is None and "one peak" in close.statement


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "there are no cells"),
        ([np.nan, np.nan], "no cell has a value"),
        ([3.0], "there is only one cell"),
        ([3.0] * 50, "every cell has the same value"),
        ([0.0] * 50, "every cell has the same value"),
        ([*marker(2000, 0), 90.0], "only 1 of 2001 cells"),
    ],
)
@pytest.mark.parametrize("method", ["mixture", "otsu"])
def test_there_is_no_gate_for_a_reason(values, reason, method):
    if method == "otsu" and "only 1 of" in reason:
        values = [1.0] * 2000 + [90.0]
    found = gate(np.array(values, float), method=method)
    assert found.cut is None and reason in found.statement and "no cell counts as positive" in found.statement
    assert not any(column.any() for column in found.levels(np.array([1.0, np.nan, 1e9])).values())


def test_cells_without_a_value_are_not_positive_and_change_nothing():
    values = marker()
    found, with_missing = gate(values), gate(np.append(values, [np.nan] * 7))
    assert (
        with_missing.cut == found.cut
        and with_missing.missing == 7
        and "7 cells without a value" in with_missing.statement
    )
    assert found.levels(np.array([np.nan, 100.0]))["CD4"].tolist() == [False, True]


def test_cells_without_signal_are_negative():
    found = gate(np.concatenate([np.zeros(400), -0.1 * marker(100, 0), 5 * marker(100, 0)]))
    assert 0 < found.cut < 2.5 and found.positive == 100


def test_the_cut_does_not_depend_on_the_unit():
    values = marker()
    assert gate(1000 * values).cut == pytest.approx(1000 * gate(values).cut, rel=1e-3)


def test_otsu_of_one_group_says_that_nothing_supports_it():
    found = gate(marker(900, 0), method="otsu")
    assert found.cut is not None and found.verdict == "no second group" and "nothing" in found.statement


def test_a_quantile_of_a_negative_control():
    tables, control = {"f": table(CD4=marker(900, 100))}, table(CD4=np.arange(101.0) / 100)
    options = GateOptions(method="quantile", quantile=0.95)
    found = fit_gates(tables, ["CD4"], options, control=[control]).of()["CD4"]
    assert found.cut == pytest.approx(0.95) and found.overlap is not None
    with pytest.raises(UserError, match="negative control"):
        fit_gates(tables, ["CD4"], options)


def test_a_gate_by_hand_is_used_unchanged_and_still_described():
    tables = {"f": table(CD4=marker(900, 0))}
    found = fit_gates(tables, ["CD4"], given={"CD4": 1.5}).of()["CD4"]
    assert found.cut == 1.5 and "by hand" in found.statement and found.verdict == "no second group"


def test_dim_and_bright_cells_have_two_cuts():
    values = marker(800, 100, 100)
    found = fit_gates({"f": table(CD4=values)}, ["CD4"], two_cuts=["CD4"]).of()["CD4"]
    assert 2 < found.cut < 6 and 14 < found.bright < 40 and "Bright above" in found.statement
    levels = found.levels(np.array([1.0, 8.0, 60.0, np.nan]))
    assert {name: list(map(int, v)) for name, v in levels.items()} == {
        "CD4": [0, 1, 1, 0],
        "CD4bright": [0, 0, 1, 0],
        "CD4dim": [0, 1, 0, 0],
    }
    without = fit_gates({"f": table(CD4=marker(800, 100))}, ["CD4"], two_cuts=["CD4"]).of()["CD4"]
    assert without.bright is None and "none counts as bright" in without.statement


def test_the_compartment_is_that_of_the_marker():
    tables = {"f": table(CD4=marker()).assign(**{"Ring CD4 mean": 10 * marker()})}
    gates = fit_gates(tables, ["CD4", "CD4@ring"])
    assert gates.of()["CD4@ring"].cut == pytest.approx(10 * gates.of()["CD4"].cut, rel=1e-3)
    assert list(gates.positive(tables["f"])) == ["CD4", "CD4@ring"]
    with pytest.raises(UserError, match="CD4@membrane"):
        fit_gates(tables, ["CD4@membrane"])


def test_tables_of_different_compartments_are_refused():
    nucleus = pd.DataFrame({"Nucleus CD4 mean": marker()})
    with pytest.raises(UserError, match="CD4@nucleus"):
        fit_gates({"f": table(CD4=marker()), "g": nucleus}, ["CD4"])
    with pytest.raises(UserError, match="measure the cells in the same way"):
        fit_gates({"f": table(CD4=marker())}, ["CD4"]).positive(nucleus)


TWO_SLIDES = {"f": table(CD4=marker(seed=1)), "g": table(CD4=marker(positive=300, level=5.0, seed=2))}
ORIGINS = {"f": Origin("s1", "p1"), "g": Origin("s2", "p2")}


@pytest.mark.parametrize("per", ["slide", "patient"])
def test_slides_and_patients_have_their_own_gates(per):
    gates = fit_gates(TWO_SLIDES, ["CD4"], GateOptions(per=per), origins=ORIGINS)
    cuts = {name: gates.of(origin)["CD4"].cut for name, origin in ORIGINS.items()}
    assert cuts["g"] == pytest.approx(5 * cuts["f"], rel=0.15)
    assert gates.positive(TWO_SLIDES["g"], ORIGINS["g"])["CD4"].sum() == pytest.approx(300, abs=10)
    with pytest.raises(UserError, match=r"not for 's3'" if per == "slide" else "not for 'p3'"):
        gates.positive(TWO_SLIDES["f"], Origin("s3", "p3"))


def test_the_rule_for_patients_is_kept_and_files_without_it_are_read(tmp_path):
    gates = fit_gates(TWO_SLIDES, ["CD4"], GateOptions(per="patient"), origins=ORIGINS)
    path = tmp_path / "gates.json"
    replace(gates, patient=r"^(p\d)_").save(path)
    by_rule = Gates.load(path)
    assert by_rule.of(Origin("s", "s", "p1_7")) == gates.groups["p1"]
    with pytest.raises(UserError, match="finds no patient in the field name 'x'"):
        by_rule.of(Origin("s", "p1", "x"))
    data = json.loads(path.read_text())
    del data["patient"]
    path.write_text(json.dumps(data))
    assert Gates.load(path).of(Origin("s", "p2", "x")) == gates.groups["p2"]


def test_a_shift_by_the_mode_makes_slides_comparable():
    without = fit_gates(TWO_SLIDES, ["CD4"], origins=ORIGINS)
    shifted = fit_gates(TWO_SLIDES, ["CD4"], GateOptions(shift="mode"), origins=ORIGINS)
    factors = shifted.factors["CD4"]
    assert factors["s2"] / factors["s1"] == pytest.approx(5, rel=0.15)
    found = sum(without.positive(TWO_SLIDES[n], ORIGINS[n])["CD4"].sum() for n in TWO_SLIDES)
    assert abs(found - 400) > 80 and shifted.of()["CD4"].overlap < 0.02
    for name, expected in (("f", 100), ("g", 300)):
        assert shifted.positive(TWO_SLIDES[name], ORIGINS[name])["CD4"].sum() == pytest.approx(expected, abs=10)
    with pytest.raises(UserError, match="'s3'"):
        shifted.positive(TWO_SLIDES["f"], Origin("s3"))


def test_gates_are_saved_and_loaded_unchanged(tmp_path):
    tables = {"f": table(CD4=marker(800, 100, 100), CD8=marker(1000, 0)), "g": table(CD4=marker(), CD8=marker())}
    options, origins = GateOptions(shift="mean"), {"f": Origin("a"), "g": Origin("b")}
    gates = fit_gates(tables, ["CD4", "CD8"], options, two_cuts=["CD4"], origins=origins)
    gates.save(tmp_path / "gates.json")
    assert Gates.load(tmp_path / "gates.json") == gates


@pytest.mark.parametrize("text", ["{}", "[]", '{"groups": {"all": {"CD4": {"cut": 1}}}}', "no json"])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "gates.json").write_text(text)
    with pytest.raises(UserError, match=r"gates\.json"):
        Gates.load(tmp_path / "gates.json")


@pytest.mark.parametrize(
    "options",
    [{"method": "luck"}, {"per": "cell"}, {"shift": "up"}, {"quantile": 1}, {"per": "slide", "shift": "mode"}],
)
def test_unknown_options_are_refused(options):
    with pytest.raises(UserError, match=next(iter(options))):
        GateOptions(**options)


RULES = Rules.parse("helper = CD4bright\nweak = CD4dim CD8-\nkiller = CD8@ring+ CD4-\nrest =")


def test_rules_with_levels_and_compartments_give_classes():
    cells = pd.DataFrame(
        {
            "Cell CD4 mean": marker(800, 100, 100),
            "Cell CD8 mean": marker(1000, 0),
            "Ring CD8 mean": marker(700, 0).tolist() + (8 * marker(300, 0)).tolist(),
        }
    )
    found = classify_cells({"f": cells}, RULES)
    counts = found.classes["f"].value_counts()
    assert counts["helper"] == pytest.approx(100, abs=5) and counts["killer"] == pytest.approx(100, abs=8)
    assert "CD8 never positive (no gate: the intensities" in found.how
    assert "bright above" in found.how and "'Ring CD8 mean'" in found.how
    again = classify_cells({"f": cells}, RULES, found.thresholds)
    assert again.classes["f"].equals(found.classes["f"]) and "given" in again.how


def test_given_gates_are_used_and_thresholds_come_before_them():
    cells = {"f": table(CD4=marker(), CD8=marker())}
    rules, gates = Rules.parse("a = CD4+\nb = CD8+\nc ="), fit_gates(cells, ["CD4", "CD8"])
    dim = {"f": cells["f"] / 100}
    assert (classify_cells(dim, rules, gates=gates).classes["f"] == "c").all()
    by_hand = classify_cells(dim, rules, {"CD4": 0.03}, gates=gates)
    assert (by_hand.classes["f"] == "a").sum() == pytest.approx(100, abs=5)
    with pytest.raises(UserError, match="none for CD3"):
        classify_cells({"f": table(CD3=marker())}, Rules.parse("a = CD3+"), gates=gates)
    with pytest.raises(UserError, match="one cut-off"):
        classify_cells(cells, Rules.parse("a = CD4bright"), gates=gates)


def test_gates_of_a_marker_that_the_rules_spell_otherwise_are_used():
    cells = {"f": table(**{"FoxP3": marker(90, 10)})}
    gates = fit_gates(cells, ["FoxP3"], given={"FoxP3": 3.0})
    found = classify_cells(cells, Rules.parse("treg = foxp3+"), gates=gates)
    assert (found.classes["f"] == "treg").sum() == 10 and found.thresholds == {"FOXP3": 3.0}


def test_a_marker_with_a_space_in_its_name_is_found_by_the_rules_which_have_none():
    cells = {"f": table(**{"Alexa 594": marker(90, 10)})}
    found = classify_cells(cells, Rules.parse("killer = Alexa594+\nother ="))
    assert (found.classes["f"] == "killer").sum() == 10
    with pytest.raises(UserError, match=r"no mean intensity of CD9, but Alexa 594\."):
        fit_gates(cells, ["CD9"])


def test_a_table_with_a_binary_column_has_no_levels():
    with pytest.raises(UserError, match="no 0/1 column CD4bright"):
        classify_cells({"f": pd.DataFrame({"CD4": [0, 1]})}, Rules.parse("a = CD4bright"))
