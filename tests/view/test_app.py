"""The page's server: every address, corrections, cut-offs, and requests that it must refuse."""

import io
import json
import subprocess
import sys
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field
from dedl_fastai.io.corrections import Action
from dedl_fastai.phenotypes import Gates
from dedl_fastai.predict.correct import correct_results
from dedl_fastai.predict.corrections import (
    append,
    corrected_labels,
    is_written,
    labels_file,
    log_file,
    read_actions,
)
from dedl_fastai.predict.gate import gate_cells
from dedl_fastai.view.app import create_app
from dedl_fastai.view.results import ResultsView
from dedl_fastai.view.server import serve

from .results_folder import EDGE, NAMES, PLACES, SHAPE, centre, write_results

testclient = pytest.importorskip("starlette.testclient", reason="the extra view is not installed")

PORT, TOKEN = 8123, "secret"
A = f"api/fields/{quote(NAMES[0])}"
DAPI, CD8 = "layer=0,0,50,0000ff", "layer=1,0,16,00ff00"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder that no test changes."""
    return write_results(tmp_path_factory.mktemp("view") / "res")


@pytest.fixture
def folder(tmp_path):
    return write_results(tmp_path / "res")


def client_of(folder, base=f"http://127.0.0.1:{PORT}/{TOKEN}/"):
    return testclient.TestClient(create_app(ResultsView(folder), TOKEN, PORT), base_url=base)


@pytest.fixture(scope="module")
def looking(made):
    with client_of(made) as client:
        yield client


@pytest.fixture
def client(folder):
    with client_of(folder) as client:
        yield client


def act(client, action, revision, status=200, **more):
    answer = client.post(f"{A}/actions", json={"action": action, "revision": revision, **more})
    assert answer.status_code == status, answer.text
    return answer.json()


def label_at(client, x, y):
    return client.get(f"{A}/at", params={"x": x, "y": y}).json()["label"]


def test_the_gallery_has_a_row_for_each_field(looking):
    gallery = looking.get("api/fields").json()
    assert [row["field"] for row in gallery["fields"]] == list(NAMES)
    first = gallery["fields"][0]
    assert first["cells"] == 5 and first["types"] == {"t": 2, "other": 3} and first["checked"] == ""
    assert gallery["markers"] == ["CD8"] and [t["name"] for t in gallery["types"]] == ["t", "other"]
    assert looking.get(f"{A}/thumbnail").headers["content-type"] == "image/jpeg"


def test_the_gallery_names_the_regions_to_correct_next_without_checked_ones(client, folder):
    def regions():
        return [(r["field"], r["x0"]) for r in client.get("api/fields").json()["look_at"]]

    assert regions()[0] == ("b", 350) and sorted(regions()) == [(name, x0) for name in NAMES for x0 in (0, 350)]
    act(client, "check", 0, points=[(0, 0), (350, 0), (350, 600), (0, 600)])
    assert sorted(regions()) == [(NAMES[0], 350), ("b", 0), ("b", 350)]
    act(client, "undo", 1)
    assert len(regions()) == 4


def test_the_page_and_its_files_are_served(looking):
    assert "assets/main.js" in looking.get("").text
    for name in ("main.js", "view.css", "openseadragon.min.js", "openseadragon.LICENSE.txt"):
        assert looking.get(f"assets/{name}").status_code == 200
    assert "default-src 'self'" in looking.get("").headers["content-security-policy"]


def test_a_field_has_layers_with_contrasts(looking):
    about = looking.get(A).json()
    assert (about["height"], about["width"], about["levels"]) == (*SHAPE, 1) and about["um_per_px"] == 0.5
    assert [layer["name"] for layer in about["layers"]] == ["DAPI", "CD8"]
    contrast = looking.get(f"{A}/contrast/1").json()
    assert about["layers"][1]["contrast"] == contrast
    assert contrast["least"] == 0 and contrast["most"] == 16 and contrast["low"] < contrast["high"] <= 16


def picture(answer):
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_tiles_add_up_layers_in_their_colours(looking):
    tile = picture(looking.get(f"{A}/tiles/0/0/0?{DAPI}&{CD8}"))
    y, x = PLACES[5]
    assert tile.shape == (512, 512, 3) and (tile[y + 10, x + 10] > [-1, 245, 245]).all() and tile[200, 400].max() < 15
    assert picture(looking.get(f"{A}/tiles/0/1/1?{DAPI}")).shape == (88, 188, 3)
    half = picture(looking.get(f"{A}/tiles/1/0/0?{CD8}"))
    assert half.shape == (300, 350, 3) and half[y // 2 + 5, x // 2 + 5, 1] > 245


def test_outlines_have_the_colours_of_types_or_of_positive_cells(looking):
    colors = {t["name"]: t["color"] for t in looking.get(A).json()["types"]}
    outlines = picture(looking.get(f"{A}/outlines/0/0/0?revision=0"))
    assert outlines.shape == (512, 512, 4) and (outlines[..., 3] > 0).sum() == 4 * 4 * (EDGE - 1) + 7 + 7 + 28
    for label, name in ((1, "t"), (3, "other")):
        y, x = PLACES[label]
        assert outlines[y, x].tolist() == [*colors[name], 255] and outlines[y + 5, x + 5, 3] == 0
    by_cut = picture(looking.get(f"{A}/outlines/0/0/0?marker=CD8&cut=3"))
    low, high = (by_cut[PLACES[i]].tolist() for i in (1, 5))
    assert low != high and by_cut[PLACES[3]].tolist() == high


def test_a_place_shows_the_row_of_its_nucleus(looking):
    cell = looking.get(f"{A}/at", params=dict(zip("xy", centre(5), strict=True))).json()
    assert cell["label"] == 5 and cell["type"] == "other" and cell["row"]["Cell CD8 mean"] == 16
    assert np.ptp(np.array(cell["outline"]), axis=0).tolist() == [EDGE, EDGE]
    assert looking.get(f"{A}/at?x=5&y=5").json() == looking.get(f"{A}/at?x=-5&y=9e9").json() == {"label": 0}


def test_every_correction_is_on_the_disk_when_it_is_answered(client, folder):
    act(client, "delete", 0, labels=[1], points=[centre(1)])
    assert [a.action for a in read_actions(folder, NAMES[0])] == ["delete"]
    split = act(client, "split", 1, labels=[2], points=[[500, 315], [540, 315]])
    assert split["labels"] == [2, 6]
    act(client, "merge", 2, labels=[3, 4], points=[centre(3), centre(4)])
    assert act(client, "draw", 3, points=[[600, 20], [640, 20], [640, 60]])["labels"] == [7]
    state = act(client, "type", 4, labels=[7], type="new")
    assert "new" in [t["name"] for t in state["types"]]
    state = act(client, "check", 5, points=None)
    assert state["revision"] == 6 and state["checks"] == [{"action": "check", "points": None}]
    assert [label_at(client, *centre(i)) for i in (1, 4)] == [0, 3] and label_at(client, 510, 305) != label_at(
        client, 510, 325
    )
    assert client.get(f"{A}/at?x=635&y=30").json()["type"] == "new"
    act(client, "draw", 6, labels=[7], points=[[600, 20], [640, 20], [640, 40]])
    assert label_at(client, 638, 50) == 0
    assert (
        client.get("api/fields").json()["fields"][0] | {"corrections": 6, "checked": "field"}
        == (client.get("api/fields").json()["fields"][0])
    )


def test_a_nucleus_is_not_drawn_again_away_from_its_place_but_earlier_logs_hold(client, folder):
    away = [(600, 20), (640, 20), (640, 60), (600, 60)]
    refused = act(client, "draw", 0, status=400, labels=[5], points=away)
    assert "nucleus 5 is not there" in refused["error"] and not log_file(folder, NAMES[0]).exists()
    assert (label_at(client, *centre(5)), label_at(client, 620, 40)) == (5, 0)
    append(folder, NAMES[0], Action("draw", (5,), tuple(away)), after=0)
    state = client.get(f"{A}/state").json()
    assert state["revision"] == 1 and "trouble" not in state and label_at(client, 620, 40) == 5


def test_undo_and_redo(client):
    act(client, "delete", 0, labels=[1], points=[centre(1)])
    state = act(client, "undo", 1)
    assert label_at(client, *centre(1)) == 1 and state["can_redo"] and not state["can_undo"]
    act(client, "redo", 2)
    assert label_at(client, *centre(1)) == 0
    assert "nothing to redo" in act(client, "redo", 3, status=400)["error"]


def test_corrections_are_there_again_in_another_process(folder):
    first = client_of(folder)  # no shutdown: the label image is never written
    act(first, "delete", 0, labels=[1], points=[centre(1)])
    with client_of(folder) as second:
        assert second.get(A).json()["revision"] == 1 and label_at(second, *centre(1)) == 0
        act(second, "delete", 1, labels=[5], points=[centre(5)])
        assert "changed in another page" in act(first, "undo", 1, status=409)["error"]
        assert first.get(f"{A}/state").json()["revision"] == 2 and label_at(first, *centre(5)) == 0
    assert is_written(folder, NAMES[0])
    assert set(np.unique(corrected_labels(folder, NAMES[0]))) == {0, 2, 3, 4}


def test_a_label_image_that_a_killed_process_left_behind_is_written_by_the_next_one(folder):
    act(client_of(folder), "delete", 0, labels=[1], points=[centre(1)])
    assert not labels_file(folder, NAMES[0]).exists()
    with client_of(folder):
        pass  # the field is not even looked at
    assert is_written(folder, NAMES[0])


def test_a_label_image_of_another_log_is_written_again(folder):
    with client_of(folder) as client:
        act(client, "delete", 0, labels=[1], points=[centre(1)])
    log_file(folder, NAMES[0]).unlink()
    with client_of(folder) as client:
        act(client, "delete", 0, labels=[5], points=[centre(5)])
    with open_field(labels_file(folder, NAMES[0])) as field:
        assert set(np.unique(field.read(0))) == {0, 1, 2, 3, 4}


def test_a_page_that_is_behind_is_refused_and_nothing_happens(client, folder):
    act(client, "delete", 0, labels=[1], points=[centre(1)])
    assert "changed in another page" in act(client, "delete", 0, status=409, labels=[5], points=[centre(5)])["error"]
    assert label_at(client, *centre(5)) == 5 and len(read_actions(folder, NAMES[0])) == 1


def test_a_correction_that_cannot_be_written_did_not_happen(client, folder, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    client.get(A)
    monkeypatch.setattr("dedl_fastai.view.corrector.append", full)
    with pytest.raises(OSError, match="No space"):
        act(client, "delete", 0, labels=[1], points=[centre(1)])
    assert label_at(client, *centre(1)) == 1 and client.get(f"{A}/state").json()["revision"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {"action": "delete"},
        {"action": "delete", "revision": 0, "labels": "x"},
        {"action": "explode", "revision": 0, "points": [[1, 1]]},
        {"action": "draw", "revision": 0, "points": [[1, float("1e400")], [2, 2], [3, 1]]},
        {"action": "merge", "revision": 0, "labels": [1, 5], "points": [centre(1), centre(5)]},
        [1],
    ],
)
def test_impossible_corrections_get_a_sentence(client, folder, body):
    content = json.dumps(body)
    answer = client.post(f"{A}/actions", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"] and not log_file(folder, NAMES[0]).exists()


def test_a_cut_off_is_moved_and_written(client, folder):
    gate = client.get("api/gates/CD8", params={"field": "b"}).json()
    assert sum(gate["field"]) == 5 and sum(gate["all"]) == 10 and len(gate["edges"]) == len(gate["all"]) + 1
    counts = client.get("api/gates/CD8", params={"field": "b", "cut": 3}).json()
    assert counts == {"field": 3, "cells_of_field": 5, "all": 6, "cells": 10}
    answer = client.post("api/gates/CD8", json={"field": "b", "cut": 3}).json()
    assert answer["cut"] == 3 and "by hand" in answer["statement"]
    saved = json.loads((folder / "corrections" / "gates.json").read_text())["groups"]["all"]["CD8"]
    assert (saved["cut"], saved["method"], saved["positive"]) == (3, "hand", 6)
    with client_of(folder) as again:
        assert again.get("api/gates/CD8", params={"field": "b"}).json()["cut"] == 3
    assert client.get("api/gates/CD9", params={"field": "b"}).status_code == 400
    assert client.post("api/gates/CD8", json={"field": "b"}).status_code == 400


def test_a_cut_off_is_moved_and_applied_where_rules_spell_the_marker_otherwise(folder, tmp_path, caplog):
    for name in NAMES:
        path = folder / f"{name}_cells.csv"
        table = pd.read_csv(path).rename(columns={"Cell CD8 mean": "Cell Cd-8 mean"})
        table.assign(**{"Cell CD3 mean": table["Cell Cd-8 mean"]}).to_csv(path, index=False)
    (tmp_path / "rules.txt").write_text("t = CD8+")
    (tmp_path / "others.txt").write_text("t = CD3+")
    gate_cells([folder], rules=tmp_path / "rules.txt", given={"CD8": 3}, apply=True)
    with client_of(folder) as client:
        assert client.get("api/gates/Cd-8", params={"field": "b"}).json()["cut"] == 3
        client.post("api/gates/Cd-8", json={"field": "b", "cut": 6})
    gate_cells([folder], rules=tmp_path / "rules.txt", apply=True)
    assert Gates.load(folder / "gates.json").of()["CD8"].cut == 6 and "by hand" not in caplog.text
    gate_cells([folder], rules=tmp_path / "others.txt", apply=True)
    assert "the cut-off by hand of CD8 is not applied" in caplog.text


@pytest.mark.parametrize(
    "path", ["", "/", "/wrong/", "/wrong/api/fields", "/api/fields", f"/{TOKEN}x/", "/assets/main.js"]
)
def test_requests_without_the_token_are_refused(made, path):
    with client_of(made, f"http://127.0.0.1:{PORT}") as client:
        assert client.get(path).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"host": f"evil.example:{PORT}"},  # DNS rebinding
        {"host": "127.0.0.1:80"},
        {"origin": "http://evil.example"},  # CSRF
        {"origin": "null"},
        {"origin": f"http://localhost:{PORT + 1}"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_requests_of_other_sites_are_refused(folder, headers):
    with client_of(folder) as client:
        assert client.get("api/fields", headers=headers).status_code == 403
        body = {"action": "check", "revision": 0}
        assert client.post(f"{A}/actions", json=body, headers=headers).status_code == 403
        assert client.post(f"{A}/actions", data=body).status_code == 400  # a form, as other sites can send it
    assert not log_file(folder, NAMES[0]).exists()


@pytest.mark.parametrize(
    "path",
    [
        "api/fields/nothing",
        "api/fields/..%2F..%2Fetc%2Fpasswd",
        "api/fields/..%2Fa [1,2]/state",
        "assets/../app.py",
        "assets/..%2Fapp.py",
        "assets/%2Fetc%2Fpasswd",
        "../res/gates.json",
    ],
)
def test_paths_outside_the_results_are_refused(looking, path):
    assert looking.get(path).status_code in (403, 404)


@pytest.mark.parametrize(
    "path",
    [
        "tiles/9/0/0",
        "tiles/0/7/0",
        f"tiles/0/0/0?{DAPI[:-1]}",
        "tiles/0/0/0?layer=9,0,1,ffffff",
        "contrast/9",
        "at?x=1",
    ],
)
def test_unknown_places_and_layers_get_a_sentence(looking, path):
    answer = looking.get(f"{A}/{path}")
    assert answer.status_code in (400, 404) and answer.json()["error"]


def test_a_field_without_labels_is_shown_and_not_corrected(folder):
    (folder / f"{NAMES[0]}_labels.ome.tif").unlink()
    with client_of(folder) as client:
        assert "write=labels" in client.get(A).json()["trouble"]
        assert picture(client.get(f"{A}/tiles/0/0/0?{DAPI}")).shape == (512, 512, 3)
        assert "write=labels" in act(client, "delete", 0, status=400, labels=[1], points=[centre(1)])["error"]


def test_a_damaged_log_does_not_keep_other_fields_from_being_shown(folder):
    log_file(folder, NAMES[0]).parent.mkdir()
    log_file(folder, NAMES[0]).write_text("damaged\n")
    with client_of(folder) as other:
        assert len(other.get("api/fields").json()["fields"]) == len(NAMES)
        assert "line 1" in other.get(A).json()["trouble"]


def test_the_page_needs_no_deep_learning_library():
    code = "import dedl_fastai.view.server, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        serve(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no results"):
        serve(tmp_path)
    (tmp_path / "fields").mkdir()
    with pytest.raises(UserError, match="no finished field"):
        serve(tmp_path)


def test_tables_and_counts_follow_the_corrections_when_the_page_asks(client, folder):
    x, y = centre(1)
    assert act(client, "delete", 0, labels=[1], points=[[x, y]])["revision"] == 1
    assert act(client, "draw", 1, points=[[200, 200], [240, 200], [240, 230], [200, 230]])["labels"] == [6]
    assert client.get(f"{A}/at", params={"x": 220, "y": 215}).json()["is_changed"]
    assert [row["is_behind"] for row in client.get("api/fields").json()["fields"]] == [True, False]
    assert client.post("api/correct", json={}).json() == {"fields": [NAMES[0]]}
    rows = client.get("api/fields").json()["fields"]
    assert [row["is_behind"] for row in rows] == [False, False] and rows[0]["cells"] == 5
    table = pd.read_csv(folder / f"{NAMES[0]}_cells.csv").set_index("label")
    assert list(table.index) == [2, 3, 4, 5, 6] and table["area_px"][6] == 40 * 30
    drawn = client.get(f"{A}/at", params={"x": 220, "y": 215}).json()
    assert not drawn["is_changed"] and drawn["row"]["area_px"] == 1200
    assert client.get("api/gates/CD8", params={"field": NAMES[0], "cut": 3}).json()["cells_of_field"] == 5


def test_rows_and_counts_follow_when_another_process_corrects_the_tables(client, folder):
    assert client.get(f"{A}/at", params=dict(zip("xy", centre(5), strict=True))).json()["row"]["label"] == 5
    assert client.get("api/gates/CD8", params={"field": NAMES[0], "cut": 3}).json()["cells_of_field"] == 5
    shown = act(client, "delete", 0, labels=[1], points=[centre(1)])
    correct_results(folder)
    assert [row["cells"] for row in client.get("api/fields").json()["fields"]] == [4, 5]
    for label in (2, 3, 4, 5):
        assert client.get(f"{A}/at", params=dict(zip("xy", centre(label), strict=True))).json()["row"]["label"] == label
    assert client.get("api/gates/CD8", params={"field": NAMES[0], "cut": 3}).json()["cells_of_field"] == 4
    assert client.get(f"{A}/state").json()["table"] != shown["table"]  # in the address of outlines: they have types


def test_newer_cut_offs_of_another_process_are_shown_and_kept(client, folder, tmp_path):
    for name in NAMES:
        table = pd.read_csv(folder / f"{name}_cells.csv")
        table.assign(**{"Cell CD3 mean": table["Cell CD8 mean"]}).to_csv(folder / f"{name}_cells.csv", index=False)
    (tmp_path / "rules.txt").write_text("t = CD8+ CD3+")
    gate_cells([folder], rules=tmp_path / "rules.txt", given={"CD8": 3, "CD3": 3}, apply=True)
    assert client.get("api/gates/CD8", params={"field": "b"}).json()["cut"] == 3
    client.post("api/gates/CD3", json={"field": "b", "cut": 6})
    gate_cells([folder], rules=tmp_path / "rules.txt", given={"CD8": 5}, apply=True)
    client.post("api/gates/CD3", json={"field": "b", "cut": 7})
    saved = Gates.load(folder / "corrections" / "gates.json").of()
    assert (saved["CD8"].cut, saved["CD3"].cut) == (5, 7)
    assert client.get("api/gates/CD8", params={"field": "b"}).json()["cut"] == 5


def test_a_correction_of_the_tables_that_fails_is_a_sentence(client, folder):
    act(client, "delete", 0, labels=[1], points=[list(centre(1))])
    (folder / f"{NAMES[0]}_cells.csv").unlink()
    answer = client.post("api/correct", json={})
    assert answer.status_code == 400 and "_cells.csv does not exist" in answer.json()["error"]
    assert client.post("api/correct", content="{}", headers={"content-type": "text/plain"}).status_code == 400


def test_the_cells_next_to_a_cut_off_are_listed_with_their_places(looking):
    near = looking.get(f"{A}/unsure", params={"marker": "CD8", "cut": 7}).json()
    assert [cell["label"] for cell in near[:3]] == [4, 3, 5] and near[0]["value"] == 8
    for cell in near:
        assert label_at(looking, cell["x"], cell["y"]) == cell["label"]
    assert not looking.get(A).json()["has_probability"] and looking.get(f"{A}/unsure").json() == []


def test_the_cells_with_the_least_probable_types_are_listed(folder):
    path = folder / f"{NAMES[0]}_cells.csv"
    table = pd.read_csv(path)
    table["phenotype_probability"] = [0.9, 0.5, None, 0.4, 0.8]
    table.to_csv(path, index=False)
    with client_of(folder) as client:
        cells = client.get(f"{A}/unsure").json()
        assert client.get(A).json()["has_probability"]
    assert [cell["label"] for cell in cells] == [3, 4, 2, 5, 1] and cells[0]["value"] is None
