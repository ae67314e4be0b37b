"""`dedl-fastai correct`: tables, outlines and counts of results follow the corrections by hand."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.cells import measure_cells
from dedl_fastai.io import open_field
from dedl_fastai.io.corrections import Action, predicted_table
from dedl_fastai.predict.corrections import (
    append,
    corrected_labels,
    labels_file,
    log_file,
    open_corrections,
    write_labels,
)
from dedl_fastai.view.gating import Gating

from .results import WRITE, contents, dedl


def act(results, name, *actions):
    """Apply actions to a field and write them to its log, as the page does."""
    corrected = open_corrections(results, name)
    for action in actions:
        append(results, name, corrected.apply(action), corrected.revision - 1)
    corrected.labels.close()


def table(results, name):
    return pd.read_csv(results / f"{name}_cells.csv", float_precision="round_trip")


def record(results, name):
    return json.loads((results / "fields" / f"{name}.json").read_text())


@pytest.fixture
def name(results):
    return sorted(p.stem for p in (results / "fields").glob("*.json"))[0]


@pytest.fixture
def places(results, name):
    """Centres (x, y) of the nuclei by label."""
    cells = table(results, name)
    return dict(zip(cells["label"], zip(cells["x_px"] + 0.5, cells["y_px"] + 0.5, strict=True), strict=True))


def outline(x, y, radius=5):
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    return tuple((x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles)


def empty_place(results, name):
    """A place (x, y) far from all nuclei."""
    labels = corrected_labels(results, name)
    free = [(x, y) for y in range(9, labels.shape[0] - 9) for x in range(9, labels.shape[1] - 9)]
    return next((x, y) for x, y in free if not labels[y - 8 : y + 9, x - 8 : x + 9].any())


def test_the_table_is_that_of_the_corrected_labels_and_all_counts_follow(results, name, places):
    before, counts = table(results, name), record(results, name)
    first, second, *_ = places
    act(results, name, Action("delete", labels=(first,), points=(places[first],)))
    act(results, name, Action("draw", points=outline(*empty_place(results, name))))
    act(results, name, Action("type", labels=(second,), points=(places[second],), type="macrophage"))
    result = dedl("correct", results)
    assert result.exit_code == 0 and f"fields rewritten: {name}" in result.stdout, result.output
    cells, new = table(results, name), max(places) + 1
    assert set(cells["label"]) == set(places) - {first} | {new}
    with open_field(counts["image"]) as field:
        whole = measure_cells(corrected_labels(results, name).astype(np.int32), field, ring_um=2.0)
    numbers = list(whole.select_dtypes("number"))
    np.testing.assert_allclose(cells[numbers], whole[numbers], rtol=1e-6)
    alike = cells.merge(before, on="label", suffixes=("", "_before"))
    assert (alike["probability"] == alike["probability_before"]).all()
    assert cells.set_index("label")["probability"].isna().pipe(lambda s: list(s[s].index)) == [new]
    assert cells.set_index("label")["phenotype"][second] == "macrophage" and "nearest_macrophage" in cells
    after = record(results, name)
    assert after["cells"] == len(cells) == counts["cells"] and after["corrected"] == 3
    assert after["phenotypes"]["macrophage"]["cells"] == 1
    summary = pd.read_csv(results / "summary.csv").set_index("field")
    assert summary["cells macrophage"][name] == 1 and summary["per_mm2"][name] == pytest.approx(after["per_mm2"])
    features = json.loads((results / f"{name}.geojson").read_text())
    features = features["features"] if isinstance(features, dict) else features
    assert len(features) == len(cells)


def test_other_fields_and_the_prediction_stay_and_undo_gives_everything_back(results, name, places):
    before = contents(results)
    first = next(iter(places))
    act(results, name, Action("delete", labels=(first,), points=(places[first],)))
    assert dedl("correct", results).exit_code == 0
    after = contents(results)
    changed = {n for n in after if after[n] != before.get(n) and not n.startswith("corrections")}
    assert changed and all(n.startswith((f"{name}", f"fields/{name}.", "summary.csv", "report.html")) for n in changed)
    assert not any(n.endswith(("_labels.ome.tif", "_mask.ome.tif")) for n in changed)
    assert "none, all show their corrections" in dedl("correct", results).stdout and contents(results) == after
    act(results, name, Action("undo"))
    assert dedl("correct", results).exit_code == 0
    again = contents(results)
    assert {n for n in before if again[n] != before[n]} == {f"fields/{name}.json"}  # it has the number of actions


def test_without_its_log_a_field_is_as_predicted(run, results, name, places):
    before = table(results, name)
    first = next(iter(places))
    act(results, name, Action("delete", labels=(first,), points=(places[first],)))
    corrected = open_corrections(results, name)
    write_labels(results, name, corrected.labels, corrected.revision)
    assert dedl("correct", results).exit_code == 0 and len(table(results, name)) == len(before) - 1
    log_file(results, name).unlink()
    assert dedl("correct", results).exit_code == 0
    pd.testing.assert_frame_equal(table(results, name), before)
    image = record(results, name)["image"]
    assert dedl("predict", run, image, "--out", results, "--write", "labels", "--overwrite").exit_code == 0
    assert not labels_file(results, name).exists() and not predicted_table(results, name).exists()


def test_gates_are_applied_to_corrected_cells_and_types_by_hand_stay(results, name, places):
    first, second, *_ = places
    act(results, name, Action("delete", labels=(first,), points=(places[first],)))
    act(results, name, Action("type", labels=(second,), points=(places[second],), type="macrophage"))
    summary = pd.read_csv(results / "summary.csv").assign(look_at=[2, None, 1])
    summary.to_csv(results / "summary.csv", index=False)
    assert dedl("gate", results, "--apply", "--set", "CD19=0.5").exit_code == 0
    cells = table(results, name).set_index("label")
    assert first not in cells.index and cells["phenotype"][second] == "macrophage"
    is_b = cells["phenotype"].drop(second) == "b"
    assert (cells["Cell CD19 (Opal 540) mean"].drop(second)[is_b] > 0.5).all() and is_b.any()
    assert record(results, name)["corrected"] == 2
    ranks = pd.read_csv(results / "summary.csv")["look_at"]
    assert ranks[0] == 2 and np.isnan(ranks[1]) and ranks[2] == 1


def test_gates_of_patients_that_a_rule_found_hold_for_corrected_cells_and_on_the_page(results, name, places):
    result = dedl("gate", results, "--apply", "--per", "patient", "--patient", name[:1])
    assert result.exit_code == 0, result.output
    label = next(iter(places))
    act(results, name, Action("delete", labels=(label,), points=(places[label],)))
    result = dedl("correct", results)
    assert result.exit_code == 0 and f"fields rewritten: {name}" in result.stdout, result.output
    assert Gating(results, [name]).save("CD19", name, 0.5).cut == 0.5
    assert Gating(results, [name]).described("CD19", name)["cut"] == 0.5


def test_what_is_missing_is_one_sentence_and_changes_nothing(results, name, places):
    first = next(iter(places))
    act(results, name, Action("delete", labels=(first,), points=(places[first],)))
    (results / "gates.json").rename(results.parent / "own.json")
    before = contents(results)
    result = dedl("correct", results)
    assert result.exit_code == 2 and "no gates.json" in result.stderr and "--gates" in result.stderr
    assert contents(results) == before
    assert dedl("correct", results, "--gates", results.parent / "own.json").exit_code == 0
    empty = dedl("correct", results / "fields")
    assert empty.exit_code == 2 and "holds no finished results" in empty.stderr


def test_types_of_a_classifier_stay_where_nothing_changed_and_new_nuclei_are_undecided(results, name, places, caplog):
    about, cells = record(results, name), table(results, name)
    about["settings"] |= {"rules": [], "gates": "", "cell_types": "types (best, 0)", "min_confidence": None}
    (results / "fields" / f"{name}.json").write_text(json.dumps(about | {"phenotyping": "types by a forest"}))
    p = np.linspace(0.1, 0.9, len(cells))
    cells = cells.assign(phenotype=np.where(p > 0.5, "x", "y"), phenotype_probability=np.maximum(p, 1 - p))
    cells.assign(**{"probability x": p, "probability y": 1 - p}).to_csv(results / f"{name}_cells.csv", index=False)
    act(results, name, Action("draw", points=outline(*empty_place(results, name))))
    assert dedl("correct", results).exit_code == 0
    after, new = table(results, name).set_index("label"), max(places) + 1
    assert after["probability x"].drop(new).tolist() == pytest.approx(p.tolist())
    assert after["phenotype"].drop(new).tolist() == cells["phenotype"].tolist() and pd.isna(after["phenotype"][new])
    assert f"{name}: 1 corrected nuclei have no type without `cell_types`" in caplog.messages
    assert record(results, name)["phenotypes"].keys() == {"x", "y"}


def test_quartiles_of_rings_are_measured_again_where_the_table_has_them(results, name, places):
    def measured(labels):
        with open_field(record(results, name)["image"]) as field:
            table = measure_cells(np.asarray(labels[:, :]).astype(np.int32), field, ring_quartiles=True)
        return table.set_index("label").filter(regex="quartile|Ring .* median")

    own = measured(corrected_labels(results, name))
    cells = table(results, name).join(own, on="label")
    cells.to_csv(results / f"{name}_cells.csv", index=False)
    act(results, name, Action("draw", points=outline(*empty_place(results, name))))
    assert dedl("correct", results).exit_code == 0
    after = table(results, name).set_index("label")[list(own)]
    pd.testing.assert_frame_equal(after, measured(corrected_labels(results, name)), check_dtype=False)


def test_a_field_whose_nuclei_were_all_deleted_does_not_stop_the_others(results, name, places):
    act(results, name, *(Action("delete", labels=(n,), points=(place,)) for n, place in places.items()))
    assert dedl("correct", results).exit_code == 0
    assert table(results, name).empty and record(results, name)["cells"] == 0
    applied = dedl("gate", results, "--apply", "--set", "CD19=0.5")
    assert applied.exit_code == 0, applied.output
    act(results, name, Action("check"))
    again = dedl("correct", results)
    assert again.exit_code == 0 and record(results, name)["corrected"] == len(places) + 1, again.output


def test_files_that_predict_adds_show_the_corrections_too(run, images, results, name, places):
    first, second, *_ = places
    act(results, name, Action("delete", labels=(first,), points=(places[first],)))
    act(results, name, Action("type", labels=(second,), points=(places[second],), type="macrophage"))
    assert dedl("correct", results).exit_code == 0
    before, summary = contents(results), pd.read_csv(results / "summary.csv")
    added = dedl("predict", run, *images, "--out", results, "--rules", "tfh5", "--write", f"{WRITE},geojson.gz")
    assert added.exit_code == 0, added.output
    assert record(results, name)["corrected"] == 2 and "geojson.gz" in record(results, name)["kinds"]
    pd.testing.assert_frame_equal(pd.read_csv(results / "summary.csv"), summary)
    after = contents(results)
    assert all(after[n] == before[n] for n in before if n.endswith((".csv", ".geojson")))
    assert gzip.decompress(after[f"{name}.geojson.gz"]) == after[f"{name}.geojson"]


def test_a_classifier_gives_types_where_all_other_cells_are_undecided(results, name, places, monkeypatch):
    class OneType:
        classes, min_confidence = ["x", "y"], 0.5

        def probabilities(self, cells, field, labels):
            return np.tile([0.9, 0.1], (len(cells), 1))

    about, cells = record(results, name), table(results, name)
    about["settings"] |= {"rules": [], "gates": "", "cell_types": "types (best, 0)", "min_confidence": None}
    (results / "fields" / f"{name}.json").write_text(json.dumps(about | {"phenotyping": "types by a forest"}))
    undecided = {"phenotype": None, "phenotype_probability": 0.4, "probability x": 0.4, "probability y": 0.4}
    cells.assign(**undecided).to_csv(results / f"{name}_cells.csv", index=False)
    act(results, name, Action("draw", points=outline(*empty_place(results, name))))
    monkeypatch.setattr("dedl_fastai.predict.correct.load_cell_types", lambda run: OneType())
    done = dedl("correct", results, "--cell-types", "types")
    assert done.exit_code == 0, done.output
    assert table(results, name).set_index("label")["phenotype"].dropna().to_dict() == {max(places) + 1: "x"}


def test_commands_that_read_the_tables_say_that_they_are_behind_the_corrections(
    results, name, places, tmp_path, caplog
):
    label = next(iter(places))
    act(results, name, Action("delete", labels=(label,), points=(places[label],)))
    for command in (["report", results], ["neighbours", results, "--out", tmp_path / "neighbours"]):
        caplog.clear()
        assert dedl(*command).exit_code == 0
        assert name in caplog.text and "do not show all corrections" in caplog.text
    assert dedl("correct", results).exit_code == 0
    caplog.clear()
    assert dedl("report", results).exit_code == 0 and caplog.text == ""
