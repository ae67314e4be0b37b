"""Cut-offs of `dedl-fastai predict`: one for all fields, kept for later ones, or given as gates.json."""

import json
import shutil

import pandas as pd
import pytest

from dedl_fastai.phenotypes import Gates
from dedl_fastai.predict.inputs import field_name

from .results import contents, dedl

FLAGS = ["--rules", "tfh5", "--write", "cells"]


@pytest.fixture(scope="module")
def two(run, images, tmp_path_factory):
    """The results of two fields. Tests must not change them."""
    out = tmp_path_factory.mktemp("gates") / "out"
    assert dedl("predict", run, *images[:2], "--out", out, *FLAGS).exit_code == 0
    return out


def table(out, image):
    return pd.read_csv(out / f"{field_name(image)}_cells.csv")


def phenotyping(out):
    return {json.loads(p.read_text())["phenotyping"] for p in (out / "fields").glob("*.json")}


def test_all_fields_have_the_same_cut_offs(two, images):
    gates = Gates.load(two / "gates.json").of()
    cells = [table(two, image) for image in images[:2]]
    assert gates["CD4"].cells == sum(map(len, cells)) and gates["CD4"].tables == 2
    (how,) = phenotyping(two)
    assert f"CD4 positive above {gates['CD4'].cut:.4g} (mixture over" in how
    for of_field in cells:
        b = of_field[of_field.phenotype == "b"]
        assert (b["Cell CD19 (Opal 540) mean"] > gates["CD19"].cut).all()


def test_a_later_field_gets_the_cut_offs_of_the_folder(run, two, images, tmp_path):
    out = shutil.copytree(two, tmp_path / "out")
    before = contents(out)
    assert dedl("predict", run, *images, "--out", out, *FLAGS).exit_code == 0
    assert contents(out)["gates.json"] == before["gates.json"] and len(phenotyping(out)) == 1
    (out / "gates.json").unlink()
    (out / f"{field_name(images[2])}_cells.csv").unlink()
    result = dedl("predict", run, *images, "--out", out, *FLAGS)
    assert result.exit_code == 2 and "gates.json" in result.stderr and "--overwrite" in result.stderr
    assert dedl("predict", run, *images, "--out", out, *FLAGS, "--overwrite").exit_code == 0
    assert Gates.load(out / "gates.json").of()["CD4"].tables == 3


def test_results_of_an_earlier_version_are_not_mixed_with_others(run, two, images, tmp_path):
    out = shutil.copytree(two, tmp_path / "out")
    for path in (out / "fields").glob("*.json"):
        record = json.loads(path.read_text())
        del record["settings"]["gates"]
        path.write_text(json.dumps(record))
    result = dedl("predict", run, *images, "--out", out, *FLAGS)
    assert result.exit_code == 2 and "earlier version" in result.stderr


def test_given_gates_are_used(run, two, images, tmp_path):
    given = tmp_path / "mine.json"
    text = (two / "gates.json").read_text()
    given.write_text(text)
    out = tmp_path / "out"
    result = dedl("predict", run, images[0], "--out", out, *FLAGS, "--gates", given)
    assert result.exit_code == 0, result.output
    assert table(out, images[0]).equals(table(two, images[0]))
    assert not (out / "gates.json").exists()
    cut = Gates.load(given).of()["CD19"].cut
    given.write_text(text.replace(f'"cut": {cut}', '"cut": 0.0'))
    other = dedl("predict", run, images[0], "--out", out, *FLAGS, "--gates", given)
    assert other.exit_code == 2 and "gates" in other.stderr and "--overwrite" in other.stderr
    assert dedl("predict", run, images[0], "--out", out, *FLAGS, "--gates", given, "--overwrite").exit_code == 0
    assert (table(out, images[0]).phenotype == "b").sum() > (table(two, images[0]).phenotype == "b").sum()


def test_gates_that_do_not_fit_are_refused_before_a_field_is_predicted(run, two, images, tmp_path):
    rules = tmp_path / "rules.txt"
    rules.write_text("a = CD27+")
    flags = ["--out", tmp_path / "out", "--write", "cells", "--gates", two / "gates.json"]
    result = dedl("predict", run, images[0], *flags, "--rules", rules)
    assert result.exit_code == 1 and "none for CD27" in result.stderr
    rules.write_text("a = CD4bright")
    result = dedl("predict", run, images[0], *flags, "--rules", rules)
    assert result.exit_code == 1 and "one cut-off" in result.stderr
    result = dedl("predict", run, images[0], *flags)
    assert result.exit_code == 2 and "--gates are for the markers of --rules" in result.stderr
    result = dedl("predict", run, images[0], *flags[:-1], tmp_path / "none.json", "--rules", rules)
    assert result.exit_code == 2 and "none.json" in result.stderr


def test_thresholds_for_all_markers_need_no_gates(run, images, tmp_path):
    rules = tmp_path / "rules.txt"
    rules.write_text("dim = CD4dim\nbright = CD4bright")
    flags = ["--rules", rules, "--thresholds", "CD4=1/3", "--write", "cells", "--out", tmp_path / "out"]
    result = dedl("predict", run, images[0], *flags)
    assert result.exit_code == 0, result.output
    cells = table(tmp_path / "out", images[0])
    level = cells["Cell CD4 (Opal 650) mean"]
    assert ((level > 3) == (cells.phenotype == "bright")).all()
    assert (level.between(1, 3, inclusive="right") == (cells.phenotype == "dim")).all()
    assert not (tmp_path / "out" / "gates.json").exists()
