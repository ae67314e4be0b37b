"""`dedl-fastai gate`: gates.json and the page from results of predict, inForm tables and their mistakes."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.cells.measure import measure_cells
from dedl_fastai.io import write_ome_tiff
from dedl_fastai.phenotypes import Gates

from .results import contents, dedl

HOSTILE = "<b>S</b>&"


@pytest.fixture(scope="module")
def fields():
    """Two fields of 64 cells: CD4 is bright in a quarter of them, and twice in the second field; CD8 is absent."""
    rng = np.random.default_rng(0)
    labels = np.kron(np.arange(1, 65).reshape(8, 8), np.pad(np.ones((8, 8), int), 4))
    found = {}
    for name, gain in ((f"{HOSTILE}_[1,2]", 1.0), ("T_[3,4]", 2.0)):
        level = np.where(np.arange(64) % 4 == 0, 20.0, 1.0) * rng.lognormal(0, 0.3, 64)
        cd8 = rng.lognormal(0, 0.3, 64)
        planes = {c: np.append(0, v).astype(np.float32)[labels] for c, v in (("CD4", gain * level), ("CD8", cd8))}
        found[name] = {"DAPI": (labels > 0).astype(np.float32), **planes}, measure_cells(labels, planes, 0.5)
    return found


@pytest.fixture
def results(fields, tmp_path):
    """A folder as predict writes it, with images that are at hand."""
    out = tmp_path / "results"
    (out / "fields").mkdir(parents=True)
    for i, (name, (planes, cells)) in enumerate(fields.items()):
        image = tmp_path / f"{i}.ome.tif"
        write_ome_tiff(image, np.stack(list(planes.values())), list(planes), 0.5)
        cells.to_csv(out / f"{name}_cells.csv".replace("/", "_"), index=False)
        record = {"field": name.replace("/", "_"), "image": str(image)}
        others = dict.fromkeys(("cells", "area_mm2", "per_mm2", "uncertainty", "threshold", "phenotypes", "areas"))
        record = {**others, "phenotyping": "", "settings": {}, "made": {}, **record}
        (out / "fields" / f"{i}.json").write_text(json.dumps(record))
    return out


def sources(page):
    found = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.extend(v for k, v in attrs if k in ("src", "href"))

    Tags().feed(page)
    return found


def test_results_of_predict_give_gates_and_a_page_with_pictures(results, tmp_path):
    out = tmp_path / "mine.json"
    result = dedl("gate", results, "--out", out)
    assert result.exit_code == 0, result.output
    gates = Gates.load(out).of()
    assert list(gates) == ["CD4", "CD8"] and 1 < gates["CD4"].cut < 7 and gates["CD4"].positive == 32
    assert gates["CD8"].cut is None
    assert f"CD4: {gates['CD4'].statement}" in result.stdout and f"CD8: {gates['CD8'].statement}" in result.stdout
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert "From 128 cells of 2 fields; one cut-off for all." in page and gates["CD8"].reason in page
    assert page.count('alt="cells just') == 2 and page.count('alt="histogram') == 2  # no cut-off, no cells beside it
    assert all(s.startswith(("data:image/", "#m")) for s in sources(page))
    assert "url(" not in page and "@import" not in page and "<script" not in page


def test_without_the_images_there_are_no_pictures_of_cells(results, tmp_path):
    for image in tmp_path.glob("*.ome.tif"):
        image.unlink()
    assert dedl("gate", results, "--out", tmp_path / "g.json").exit_code == 0
    assert 'alt="cells just' not in (tmp_path / "g.html").read_text(encoding="utf-8")


def test_slides_are_shifted_and_named_safely(results, tmp_path):
    out = tmp_path / "g.json"
    assert dedl("gate", results, "--out", out, "--shift", "mode").exit_code == 0
    factors = Gates.load(out).factors["CD4"]
    assert factors["T"] / factors["<b>S<_b>&"] == pytest.approx(2, rel=0.5)
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert "after dividing by the mode of each slide" in page and "&lt;b&gt;S" in page and "<b>S" not in page
    assert dedl("gate", results, "--out", out, "--per", "slide").exit_code == 0
    assert set(Gates.load(out).groups) == {"T", "<b>S<_b>&"}


def test_markers_rules_and_cut_offs_by_hand(results, tmp_path):
    rules, out = tmp_path / "rules.txt", tmp_path / "g.json"
    rules.write_text("a = CD8+ CD4bright")
    result = dedl("gate", results, "--out", out, "--rules", rules, "--set", "cd-8=1.5,CD4=3/25")
    assert result.exit_code == 0, result.output
    gates = Gates.load(out).of()
    assert gates["CD8"].cut == 1.5 and (gates["CD4"].cut, gates["CD4"].bright) == (3, 25)
    assert list(gates) == ["CD8", "CD4"]
    assert dedl("gate", results, "--out", out, "--markers", "CD4").exit_code == 0
    assert Gates.load(out).markers == ["CD4"]


def test_inform_tables_and_a_negative_control(tmp_path):
    rng = np.random.default_rng(1)
    column = "Entire Cell CD8 (Opal 520) Mean (Normalized Counts, Total Weighting)"
    for name, level in (("stained", [1.0] * 150 + [9.0] * 50), ("control", [1.0] * 200)):
        table = pd.DataFrame({"Slide ID": "s", "Cell ID": range(200), column: level * rng.lognormal(0, 0.2, 200)})
        (tmp_path / name).mkdir()
        table.to_csv(tmp_path / name / f"{name}_cell_seg_data.txt", sep="\t", index=False)
    out, control = tmp_path / "g.json", tmp_path / "control"
    flags = ["gate", tmp_path / "stained", "--out", out, "--per", "slide"]
    assert dedl(*flags, "--method", "quantile", "--control", control, "--quantile", "0.9").exit_code == 0
    gate = Gates.load(out).groups["s"]["CD8"]
    assert 1 < gate.cut < 2 and gate.method == "quantile" and gate.columns == (column,)
    result = dedl(*flags, "--method", "quantile")
    assert result.exit_code == 2 and "--control" in result.stderr


@pytest.fixture
def with_phenotypes(tmp_path):
    """An inForm table of 200 cells with phenotypes: CD8 is bright in 50, 45 of 48 T cells and 5 of 150 others."""
    names = ["<T>"] * 45 + ["others"] * 5 + ["<T>"] * 3 + ["others"] * 145 + [""] * 2
    column = "Entire Cell CD8 (Opal 520) Mean (Normalized Counts, Total Weighting)"
    level = np.array([9.0] * 50 + [1.0] * 150) * np.random.default_rng(2).lognormal(0, 0.2, 200)
    table = pd.DataFrame({"Cell ID": range(200), "Phenotype": names, column: level})
    path = tmp_path / "s_[1,2]_cell_seg_data.txt"
    table.to_csv(path, sep="\t", index=False)
    return path


def test_cut_offs_are_compared_with_the_phenotypes_of_the_tables(with_phenotypes, tmp_path, caplog):
    caplog.set_level("INFO")
    assert dedl("gate", with_phenotypes, "--out", tmp_path / "g.json").exit_code == 0
    counts = "45 of 48 <T>, 5 of 150 other"
    assert f"CD8, phenotypes of the tables above the cut-off: {counts}" in caplog.messages
    page = (tmp_path / "g.html").read_text(encoding="utf-8")
    assert "Phenotypes of the tables" in page and "45 of 48" in page and "&lt;T&gt;" in page and "<T>" not in page
    assert "Phenotypes (rows)" not in page

    (tmp_path / "rules.txt").write_text("<T> = CD8+\nOther =")
    result = dedl("gate", with_phenotypes, "--out", tmp_path / "g.json", "--rules", tmp_path / "rules.txt")
    assert result.exit_code == 0
    sentence = "types by the rules agree with the phenotypes of the tables in 96.0% of 198 cells: macro-F1 0.946, "
    assert any(m.startswith(sentence) and m.endswith("kappa 0.892") for m in caplog.messages)
    assert ". Phenotypes (rows) and types by the rules" in (tmp_path / "g.html").read_text(encoding="utf-8")


def test_rules_of_other_classes_or_markers_are_not_compared(with_phenotypes, tmp_path, caplog):
    caplog.set_level("INFO")
    for text in ("x = CD8+", "<T> = CD8+ CD4-"):
        (tmp_path / "rules.txt").write_text(text)
        flags = ["--rules", tmp_path / "rules.txt", "--markers", "cd8"]
        assert dedl("gate", with_phenotypes, "--out", tmp_path / "g.json", *flags).exit_code == 0
    assert not any("agree" in m for m in caplog.messages)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--method", "luck"], "--method 'luck'"),
        (["--per", "cell"], "--per 'cell'"),
        (["--shift", "mode", "--per", "slide"], "--shift mode"),
        (["--set", "CD4"], "--set 'CD4'"),
        (["--set", "CD4=8/3"], "--set 'CD4=8/3'"),
        (["--set", "CD3=1"], "CD3"),
        (["--markers", "CD3"], "CD3"),
        (["--patient", "("], "--patient"),
    ],
)
def test_wrong_options_are_one_sentence(results, tmp_path, flags, says):
    before = contents(tmp_path)
    result = dedl("gate", results, "--out", tmp_path / "g.json", *flags)
    assert result.exit_code == 2 and says in result.stderr and len(re.findall("error:", result.stderr)) == 1
    assert contents(tmp_path) == before


def test_unusable_inputs_are_named(results, tmp_path):
    def error(*args):
        result = dedl("gate", *args, "--out", tmp_path / "g.json")
        assert result.exit_code == 2
        return result.stderr

    (tmp_path / "empty").mkdir()
    assert "nowhere does not exist" in error(tmp_path / "nowhere")
    assert "neither results of predict nor cell tables" in error(tmp_path / "empty")
    assert "two tables of the field" in error(results, results)
    pd.DataFrame({"cd4": [0, 1], "cd8": [1, 0]}).to_csv(tmp_path / "binary.csv", index=False)
    assert "no mean intensity of a marker" in error(tmp_path / "binary.csv")
    result = dedl("gate", results, "--out", results / "gates.json")
    assert result.exit_code == 2 and "choose another --out" in result.stderr
    next(results.glob("*_cells.csv")).unlink()
    assert "_cells.csv does not exist" in error(results)
