"""The curve of a simulated annotator: what is corrected and counted, in which order, and a second call."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile

from dedl_fastai.bench.correction import curve as module
from dedl_fastai.bench.correction.curve import Annotation, correction_curve
from dedl_fastai.bench.correction.figure import curve_figure
from dedl_fastai.data import Cohort
from dedl_fastai.errors import UserError
from dedl_fastai.io import read_labels, write_ome_tiff
from dedl_fastai.io.masks import IGNORED

SPLITS = ("train", "train", "train", "valid", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five fields with bright round nuclei."""
    folder, rng = tmp_path_factory.mktemp("fields"), np.random.default_rng(0)
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    y, x = np.mgrid[:64, :64]
    for i in range(len(SPLITS)):
        ids = np.zeros((64, 64), np.uint16)
        for n, (cy, cx) in enumerate([(16, 16), (16, 46), (46, 16), (46, 46)][: 2 + i % 3], 1):
            ids[np.hypot(y - cy, x - cx) < 8] = n
        image = (rng.normal(20, 3, ids.shape) + 100 * (ids > 0)).astype(np.float32)
        write_ome_tiff(folder / "images" / f"f{i}.ome.tif", image[None], ["DAPI"], 0.5)
        tifffile.imwrite(folder / "masks" / f"f{i}.ome.tif", ids)
    names = [f"f{i}.ome.tif" for i in range(len(SPLITS))]
    table = pd.DataFrame({"image": names, "patient": list("abcde"), "split": SPLITS, "labels": ""})
    table.to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture
def trained(monkeypatch):
    """Trainings are noted instead of carried out; F1 is the number of training fields over 10."""
    calls = []

    def train_seg(options, out, cohort, before):
        calls.append((out.name, cohort, options))
        assert (before is None) == (len(calls) == 1)  # it is scored once
        return scores(len(cohort.part("train")) / 10) | {"before": before or scores(0.05)}

    def scores(f1):
        of_split = {"f1_50": f1, "f1_mean": f1 / 2}
        return {"test": {"iou": 0.5}, "objects": {"test": of_split, "valid": {**of_split, "f1_50": f1 + 0.01}}}

    monkeypatch.setattr(module, "train_seg", train_seg)
    return calls


def test_the_first_fields_of_each_order_are_trained_on_with_their_true_nuclei(folder, tmp_path, trained):
    annotation = Annotation(numbers=(1, 3), training={"epochs": 2})
    curve = correction_curve(Cohort.load(folder), tmp_path / "out", annotation)
    assert [name for name, _, _ in trained] == ["suggested-1", "suggested-3", "random-1"]  # all fields have no order
    assert list(curve["f1"]) == [0.05, 0.1, 0.3, 0.1, 0.3] and list(curve["n"]) == [0, 1, 3, 1, 3]
    assert list(curve["f1_valid"].round(2)) == [0.06, 0.11, 0.31, 0.11, 0.31]
    assert curve["corrected"][2] == curve["corrected"][4] >= curve["corrected"][1] and curve["corrected"][0] == 0
    _, cohort, options = trained[1]
    assert (options.preset, options.epochs, options.weights) == ("finetune", 2, "nuclei")
    assert sorted(cohort.table.split) == sorted(SPLITS)
    for row in cohort.part("train").rows():
        true = read_labels(folder / "masks" / f"{row.field}.ome.tif")
        assert "corrections" in row.mask and ((read_labels(row.mask) > 0) == (true > 0)).all()
    assert all("masks" in m for m in cohort.table[cohort.table.split != "train"]["mask"])
    assert pd.read_csv(tmp_path / "out" / "curve.csv").equals(curve.assign(order=curve["order"].replace("", np.nan)))
    lines = curve_figure(curve).axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines[:2]] == [[0.05, 0.1, 0.3]] * 2
    trained.clear()
    again = correction_curve(Cohort.load(folder), tmp_path / "out", annotation)
    assert again.equals(curve)
    with pytest.raises(UserError, match="other fields or options"):
        correction_curve(Cohort.load(folder), tmp_path / "out", replace(annotation, seed=1))
    assert json.loads((tmp_path / "out" / "curve.json").read_text())["training"] == {"epochs": 2}


def test_regions_are_corrected_in_place_of_fields(folder, tmp_path, trained, monkeypatch):
    def edges(length):
        return np.linspace(0, length, 3).astype(int)

    monkeypatch.setattr("dedl_fastai.inference.regions.region_edges", edges)
    monkeypatch.setattr("dedl_fastai.predict.regions.region_edges", edges)
    annotation = Annotation(numbers=(1, 5), unit="regions", training={"epochs": 1})
    curve = correction_curve(Cohort.load(folder), tmp_path / "out", annotation)
    assert list(curve["n"]) == [0, 1, 5, 1, 5] and set(curve["unit"]) == {"regions"}
    for name, cohort, _ in trained:
        n = int(name.partition("-")[2])
        known = [(read_labels(row.mask) != IGNORED).sum() for row in cohort.part("train").rows()]
        assert len(known) <= n and abs(sum(known) - n * 32 * 32) < n * 150  # nuclei at the rim are whole, or left out
    with pytest.raises(UserError, match=r"regions=99: the cohort has 9 training regions"):
        correction_curve(Cohort.load(folder), tmp_path / "out", replace(annotation, numbers=(99,)))


def test_what_cannot_be_simulated_is_one_sentence(folder, tmp_path, trained):
    cohort = Cohort.load(folder)
    with pytest.raises(UserError, match="3 training fields to correct"):
        correction_curve(cohort, tmp_path / "out", Annotation(numbers=(4,)))
    ids = read_labels(cohort.rows()[2].mask)
    tifffile.imwrite(tmp_path / "binary.tif", (ids > 0).astype(np.uint8))
    plain = replace(cohort, table=cohort.table.assign(mask=str(tmp_path / "binary.tif")))
    with pytest.raises(UserError, match=r"binary\.tif does not tell nuclei apart"):
        correction_curve(plain, tmp_path / "out", Annotation(numbers=(1,)))
    partly = np.where(np.arange(64) < 32, ids.astype(np.int16), np.int16(IGNORED))
    tifffile.imwrite(tmp_path / "partly.tif", partly)
    for split, refused in (("train", True), ("test", False)):
        masks = cohort.table["mask"].where(cohort.table.split != split, str(tmp_path / "partly.tif"))
        partly_known = replace(cohort, table=cohort.table.assign(mask=masks))
        with pytest.raises(UserError, match=r"partly\.tif has pixels" if refused else "3 training fields to correct"):
            correction_curve(partly_known, tmp_path / "out", Annotation(numbers=(1 if refused else 4,)))
    assert not trained and not (tmp_path / "out").exists()
