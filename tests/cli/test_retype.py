"""`dedl-fastai gate RESULTS --apply`: other types in finished results, without predicting again."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from dedl_fastai.phenotypes import Gates
from dedl_fastai.predict import gate
from dedl_fastai.predict.kinds import KINDS
from dedl_fastai.view.gating import Gating

from .results import WRITE, contents, dedl


def cells(out):
    return pd.concat([pd.read_csv(path) for path in sorted(out.glob("*_cells.csv"))], ignore_index=True)


def test_the_same_gates_leave_every_byte_as_it_is(results):
    before = contents(results)
    result = dedl("gate", results, "--apply")
    assert result.exit_code == 0, result.output
    after = contents(results)
    assert after.pop("gates.html") and after == before
    assert f"types and cut-offs: {results}" in result.stdout


def test_a_cut_off_by_hand_changes_types_everywhere_and_predict_continues_with_it(results, run, images):
    before, n = contents(results), (cells(results)["phenotype"] == "b").sum()
    assert dedl("gate", results, "--apply", "--set", "CD19=0.5").exit_code == 0
    after, b = contents(results), cells(results)["phenotype"] == "b"
    assert b.sum() > n and (cells(results)["Cell CD19 (Opal 540) mean"][b] > 0.5).all()
    changed = {name for name in after if after[name] != before.get(name)}
    for ending in ("_cells.csv", ".geojson", "_overlay.png", "_neighbours.csv", "summary.csv", "report.html"):
        assert any(name.endswith(ending) for name in changed), ending
    assert not any(name.endswith(("_mask.ome.tif", "_labels.ome.tif")) for name in changed)
    assert Gates.load(results / "gates.json").of()["CD19"].cut == 0.5
    again = dedl("predict", run, *images, "--out", results, "--rules", "tfh5", "--write", WRITE)
    assert again.exit_code == 0 and contents(results) == after
    assert dedl("gate", results, "--apply", "--set", "CD4=0.7").exit_code == 0
    gates = Gates.load(results / "gates.json").of()
    assert (gates["CD19"].cut, gates["CD4"].cut) == (0.5, 0.7)  # the first one stays


def test_cut_offs_that_were_moved_on_the_page_are_applied(results):
    names = sorted(p.stem for p in (results / "fields").glob("*.json"))
    Gating(results, names).save("CD19", names[0], 0.5)
    assert dedl("gate", results, "--apply").exit_code == 0
    assert Gates.load(results / "gates.json").of()["CD19"].cut == 0.5
    b = cells(results)["phenotype"] == "b"
    assert b.any() and (cells(results)["Cell CD19 (Opal 540) mean"][b] > 0.5).all()
    assert dedl("gate", results, "--apply", "--set", "CD19=0.7").exit_code == 0  # newer than the page's
    assert dedl("gate", results, "--apply").exit_code == 0
    assert Gates.load(results / "gates.json").of()["CD19"].cut == 0.7


def test_a_cut_off_that_is_moved_on_the_page_meanwhile_is_applied_next_time(results, monkeypatch, caplog):
    names = sorted(p.stem for p in (results / "fields").glob("*.json"))
    write = gate.write_gate_page

    def write_while_the_page_is_open(*args):
        Gating(results, names).save("CD19", names[0], 0.5)
        write(*args)

    with monkeypatch.context() as patched:
        patched.setattr(gate, "write_gate_page", write_while_the_page_is_open)
        result = dedl("gate", results, "--apply", "--set", "CD19=0.7")
    assert result.exit_code == 0 and "moved on the page meanwhile" in caplog.text
    assert Gates.load(results / "gates.json").of()["CD19"].cut == 0.7
    assert Gating(results, names).described("CD19", names[0])["cut"] == 0.5
    caplog.clear()
    assert dedl("gate", results, "--apply").exit_code == 0 and "meanwhile" not in caplog.text
    assert Gates.load(results / "gates.json").of()["CD19"].cut == 0.5


def test_other_rules(results, tmp_path):
    rules = tmp_path / "rules.txt"
    rules.write_text("dim = CD4dim\nbright = CD4bright")
    assert dedl("gate", results, "--apply", "--rules", rules, "--set", "CD4=1/3").exit_code == 0
    table = cells(results)
    level = table["Cell CD4 (Opal 650) mean"]
    assert ((level > 3) == (table["phenotype"] == "bright")).all() and "nearest_b" not in table
    record = json.loads(next((results / "fields").glob("*.json")).read_text())
    assert record["settings"]["rules"] == ["dim = CD4dim+", "bright = CD4bright+"]
    assert set(record["phenotypes"]) == {"dim", "bright"}


@pytest.mark.parametrize("lost", ["_labels.ome.tif", "_cells.csv"])
def test_missing_files_change_nothing(results, lost):
    next(results.glob(f"*{lost}")).unlink()
    before = contents(results)
    result = dedl("gate", results, "--apply")
    assert result.exit_code == 2 and lost in result.stderr and contents(results) == before


def test_a_failure_half_way_changes_nothing(results):
    last = sorted(results.glob("*_labels.ome.tif"))[-1]
    last.write_bytes(last.read_bytes()[:600])
    before = contents(results)
    result = dedl("gate", results, "--apply", "--set", "CD19=0.5")
    assert result.exit_code == 2 and last.name in result.stderr and contents(results) == before


def test_what_cannot_be_applied_is_one_sentence(results, tmp_path):
    (tmp_path / "empty").mkdir()
    for args, says in (((results, results), "2 inputs"), ((tmp_path / "empty",), "no finished results")):
        result = dedl("gate", *args, "--apply")
        assert result.exit_code == 2 and says in result.stderr
    for path in (results / "fields").glob("*.json"):
        record = json.loads(path.read_text())
        record["settings"]["rules"] = []
        path.write_text(json.dumps(record))
    result = dedl("gate", results, "--apply")
    assert result.exit_code == 2 and "give --rules" in result.stderr


def test_a_folder_among_the_files_is_replaced(results, monkeypatch):
    """As a SpatialData store is, which needs an optional package."""

    def write(path, result):
        path.mkdir()
        (path / "types").write_text(" ".join(result.found.cells["phenotype"].astype(str)))

    monkeypatch.setitem(KINDS, "overlay", replace(KINDS["overlay"], write=write))
    for overlay in results.glob("*_overlay.png"):
        overlay.unlink()
        overlay.mkdir()
        (overlay / "old").touch()
    result = dedl("gate", results, "--apply", "--set", "CD19=0.5")
    assert result.exit_code == 0, result.output
    assert (overlay / "types").is_file() and not (overlay / "old").exists()
