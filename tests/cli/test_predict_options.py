"""Options of `predict`: those that do not apply to a run, the overlap, and the origin of numbers in the results."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.data import Cohort
from dedl_fastai.io import open_field
from dedl_fastai.predict import kinds
from dedl_fastai.predict.cells import predict_cells
from dedl_fastai.predict.options import CellOptions
from dedl_fastai.runs.classification.training import train_clf
from dedl_fastai.runs.options.clf import ClfConfig
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg

from ..options import TINY, TINY_CLF

FOR_SEGMENTATIONS = [
    *(["--channel", "blue"], ["--engine", "onnx"], ["--amp", "bf16"], ["--tta", "flips"], ["--bs", "8"]),
    *(["--overlap", "0.5"], ["--channels-last"], ["--write", "mask"], ["--rules", "tfh5"]),
    *(["--thresholds", "CD19=1"], ["--ring", "2"], ["--radius", "30"], ["--min-area", "10"]),
    *(["--part-by", "distance"], ["--pixel-size", "0.5"], ["--overwrite"]),
    *(["--scheduler", "tcp://127.0.0.1:1"], ["--dask-slurm", "1"]),
]


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(scope="module")
def image(tiny_folder):
    return Cohort.load(tiny_folder).table.image[0]


@pytest.fixture(scope="module")
def run(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("options") / "run"
    train_seg(SegConfig.resolve({**TINY, "data": str(tiny_folder)}), folder)
    return folder


@pytest.fixture(scope="module")
def clf_run(many_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("options") / "clf"
    train_clf(ClfConfig.resolve({**TINY_CLF, "data": str(many_folder), "epochs": 1}), folder)
    return folder


@pytest.fixture
def overlapping(run, tmp_path):
    """The run with another overlap in its options."""
    folder = shutil.copytree(run, tmp_path / "overlapping")
    options = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**options, "overlap": 0.5}))
    return folder


@pytest.mark.parametrize("flags", FOR_SEGMENTATIONS, ids=lambda flags: flags[0])
def test_an_option_for_segmentations_is_refused_for_a_classification(clf_run, image, tmp_path, flags):
    result = dedl("predict", clf_run, image, "--out", tmp_path / "out", *flags)
    assert result.exit_code == 2 and f"{flags[0]} is for segmentations" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_first_of_several_refused_options_is_named(clf_run, image, tmp_path):
    result = dedl("predict", clf_run, image, "--tta", "flips", "--out", tmp_path / "out", "--bs", "4")
    assert "--tta is" in result.stderr and "--bs" not in result.stderr


def test_a_classification_accepts_out_which_and_device(clf_run, image, tmp_path):
    result = dedl("predict", clf_run, image, "--out", tmp_path / "out", "--which", "last", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "predictions.csv").is_file()


def test_thresholds_without_rules_are_refused_before_any_field(run, image, tmp_path):
    result = dedl("predict", run, image, "--out", tmp_path / "out", "--thresholds", "CD19=1.2")
    assert result.exit_code == 2 and "--thresholds are for the markers of --rules: give --rules too." in result.stderr
    assert not (tmp_path / "out").exists()
    assert CellOptions(rules="tfh5", thresholds="CD19=1.2").markers_above == {"CD19": 1.2}


def test_the_report_says_from_how_many_cells_the_cut_off_is(run, image, tmp_path):
    (tmp_path / "rules.txt").write_text("b = CD19+")
    out = tmp_path / "out"
    result = dedl("predict", run, image, "--out", out, "--write", "cells", "--rules", tmp_path / "rules.txt")
    assert result.exit_code == 0, result.output
    cells = pd.read_csv(next(out.glob("*_cells.csv")))
    assert f"(mixture over {len(cells)} cells) in" in (out / "report.html").read_text(encoding="utf-8")


def test_the_overlap_is_that_of_the_run_unless_given(run, overlapping, image, tmp_path):
    how = ["--write", "probability"]
    planes = {}
    for name, flags in {
        "own": [overlapping],
        "given": [run, "--overlap", "0.5"],
        "smaller": [run],
        "both": [run, overlapping],
    }.items():
        result = dedl("predict", flags[0], *flags[1:], image, "--out", tmp_path / name, *how)
        assert result.exit_code == 0, result.output
        planes[name] = tifffile.imread(next((tmp_path / name).glob("*_probability.ome.tif")))
    np.testing.assert_array_equal(planes["own"], planes["given"])
    np.testing.assert_allclose(
        planes["both"], planes["own"], atol=1e-6
    )  # the largest of both; the weights are the same
    assert np.abs(planes["own"] - planes["smaller"]).max() > 1e-4


def test_a_folder_takes_results_of_one_overlap_only(overlapping, image, tmp_path):
    out = ["--out", tmp_path / "out", "--write", "cells"]
    assert dedl("predict", overlapping, image, *out).exit_code == 0
    assert dedl("predict", overlapping, image, *out, "--overlap", "0.5").exit_code == 0
    other = dedl("predict", overlapping, image, *out, "--overlap", "0.25")
    assert other.exit_code == 2 and "overlap" in other.stderr


@pytest.mark.parametrize(
    ("in_file", "given", "source"), [(1, 0, "file"), (1, 9, "file"), (0, 0.5, "option"), (0, 0, "")]
)
def test_h5ad_files_hold_the_source_of_the_pixel_size(run, image, tmp_path, monkeypatch, in_file, given, source):
    if not in_file:
        with open_field(image) as field:
            image = tmp_path / "plain.tif"
            tifffile.imwrite(image, field.read("DAPI"))
    with open_field(image, given) as field:
        assert field.pixel_size_from == source and bool(field.pixel_size_um) == bool(source)
    written = []

    def write_h5ad(path, cells, channels, **options):  # anndata, an optional package, is not needed here
        written.append((options["pixel_size_um"], options["pixel_size_from"]))
        path.touch()

    monkeypatch.setattr(kinds, "write_h5ad", write_h5ad)
    monkeypatch.setitem(kinds.KINDS, "h5ad", kinds.FileKind(".h5ad", kinds.KINDS["h5ad"].write))
    assert predict_cells([run], [image], tmp_path / "out", CellOptions(write="h5ad", pixel_size_um=given)) == []
    assert written == [(field.pixel_size_um, source)]


@pytest.fixture
def coarse(run, tmp_path):
    """The run, as if it were trained on pixels of twice the size."""
    folder = shutil.copytree(run, tmp_path / "coarse")
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "pixel_size_um": 2 * card["pixel_size_um"]}))
    return folder


def test_the_scale_is_chosen_recorded_and_kept(coarse, image, tmp_path):
    """The pixel size of the training fields is known, so that it decides."""
    out = tmp_path / "out"
    flags = ["--out", out, "--write", "mask"]
    result = dedl("predict", coarse, image, *flags, "--scale", "auto")
    assert result.exit_code == 0, result.output
    record = json.loads(next((out / "fields").glob("*.json")).read_text())
    assert record["scale"] == {"factor": 0.5, "by": "pixel size", "agreement": []}
    assert pd.read_csv(out / "summary.csv").scale.tolist() == [0.5]
    assert '<th>scale</th><td class="wide">0.5 (by pixel size)' in (out / "report.html").read_text()
    (mask,) = out.glob("*.tif")
    assert tifffile.imread(mask).shape == open_field(image).shape
    again = dedl("predict", coarse, image, *flags, "--scale", "auto")
    assert again.exit_code == 0
    other = dedl("predict", coarse, image, *flags, "--scale", "none")
    assert other.exit_code == 2 and "scale" in other.stderr
    assert dedl("predict", coarse, image, "--out", out, "--write", "mask", "--overwrite").exit_code == 0
    assert dedl("predict", coarse, image, *flags, "--scale", "auto", "--overwrite").exit_code == 0
    assert pd.read_csv(out / "summary.csv").scale.tolist() == [0.5]


def test_each_field_may_have_its_own_scale(run, image, tmp_path):
    out = tmp_path / "out"
    result = dedl("predict", run, image, "--out", out, "--write", "mask", "--scale", "auto", "--scale-per", "field")
    assert result.exit_code == 0, result.output
    assert pd.read_csv(out / "summary.csv").scale.tolist() == [1.0]


@pytest.mark.parametrize("flags", [["--scale", "big"], ["--scale", "0"], ["--scale-per", "slide"]])
def test_unknown_scales_are_refused(run, image, tmp_path, flags):
    result = dedl("predict", run, image, "--out", tmp_path / "out", *flags)
    assert result.exit_code == 2 and "scale" in result.stderr and not (tmp_path / "out").exists()


def test_evaluate_says_at_which_scale(run, tiny_folder):
    result = dedl("evaluate", run, "--data", tiny_folder, "--scale", "1.5")
    assert result.exit_code == 0 and "predicted at 1.5 times its size (by given)" in result.output.replace("all: ", "")
    assert dedl("evaluate", run, "--scale", "huge").exit_code == 2


def test_the_scale_is_that_of_the_readable_fields(coarse, image, tmp_path):
    """A field that cannot be read, or has not the channel, is reported in its turn and does not stop the others."""
    other = tmp_path / "a.tif"
    tifffile.imwrite(other, np.zeros((2, 40, 40), np.uint16), imagej=True)
    out = tmp_path / "out"
    result = dedl("predict", coarse, other, image, "--out", out, "--write", "mask", "--scale", "auto")
    assert result.exit_code == 1 and "left out" in result.stderr
    assert pd.read_csv(out / "summary.csv").scale.tolist() == [0.5]
    alone = dedl("predict", coarse, other, "--out", tmp_path / "alone", "--write", "mask", "--scale", "auto")
    assert alone.exit_code == 1 and "left out" in alone.stderr
