"""`dedl-fastai predict` with a segmentation: the files, their agreement with each other, bad inputs, what is kept."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.data import Cohort
from dedl_fastai.experiment.config import SegConfig
from dedl_fastai.experiment.seg import train_seg
from dedl_fastai.experiment.segment import field_name

from ..options import TINY


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(scope="module")
def run(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict") / "run"
    train_seg(SegConfig.resolve({**TINY, "data": str(tiny_folder), "epochs": 8}), folder)
    return folder


@pytest.fixture(scope="module")
def images(tiny_folder):
    return list(Cohort.load(tiny_folder).table.image[:2])


@pytest.fixture(scope="module")
def results(run, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("predict") / "out"
    result = dedl("predict", run, *images, "--out", out, "--rules", "tfh5", "--write", "mask,labels,cells,geojson")
    assert result.exit_code == 0, result.output
    return out


def test_every_field_gets_its_files_and_a_row(results, images):
    names = {field_name(i) for i in images}
    assert {p.name for p in results.iterdir()} == {
        *(n + e for n in names for e in ("_mask.ome.tif", "_labels.ome.tif", "_cells.csv", ".geojson")),
        "summary.csv",
    }
    assert list(pd.read_csv(results / "summary.csv").image) == images


def test_mask_labels_table_and_polygons_agree(results, images):
    for image in images:
        name = field_name(image)
        mask, labels = (tifffile.imread(results / f"{name}_{kind}.ome.tif") for kind in ("mask", "labels"))
        cells = pd.read_csv(results / f"{name}_cells.csv")
        features = json.loads((results / f"{name}.geojson").read_text())["features"]
        assert ((labels > 0) == (mask > 0)).all()
        assert set(cells.label) == set(np.unique(labels[labels > 0])) and len(features) == len(cells)


def test_ome_tiff_has_size_and_pixel_size(results, images):
    from dedl_fastai.io import open_field

    with open_field(images[0]) as source, open_field(results / f"{field_name(images[0])}_labels.ome.tif") as written:
        assert written.shape == source.shape
        assert written.pixel_size_um == pytest.approx(source.pixel_size_um, rel=1e-4)


def test_what_is_there_is_kept_unless_overwrite(run, results, images):
    file = results / f"{field_name(images[0])}_cells.csv"
    before = file.stat().st_mtime_ns
    assert dedl("predict", run, *images, "--out", results).exit_code == 0
    assert file.stat().st_mtime_ns == before
    assert dedl("predict", run, images[0], "--out", results, "--overwrite", "--rules", "tfh5").exit_code == 0
    assert file.stat().st_mtime_ns > before
    assert len(pd.read_csv(results / "summary.csv")) == 2


def test_a_bad_file_among_good_ones_costs_a_line_and_exit_code_1(run, images, tmp_path):
    bad = tmp_path / "bad.tif"
    bad.write_bytes(Path(images[0]).read_bytes()[:4000])
    result = dedl("predict", run, bad, images[0], "--out", tmp_path / "out", "--write", "cells")
    assert result.exit_code == 1
    assert sum(line.startswith("left out:") for line in result.stderr.splitlines()) == 1 and "bad.tif" in result.stderr
    assert (tmp_path / "out" / f"{field_name(images[0])}_cells.csv").exists()


def test_two_runs_are_an_ensemble_with_an_uncertainty_map(run, images, tmp_path):
    result = dedl("predict", run, run, images[0], "--out", tmp_path, "--write", "probability,uncertainty")
    assert result.exit_code == 0, result.output
    name = field_name(images[0])
    p, entropy = (tifffile.imread(tmp_path / f"{name}_{k}.ome.tif") for k in ("probability", "uncertainty"))
    np.testing.assert_allclose(entropy, -p * np.log2(p) - (1 - p) * np.log2(1 - p), atol=1e-3)


@pytest.mark.parametrize(("flags", "says"), [(["--write", "movie"], "--write"), (["--rules", "none.txt"], "none.txt")])
def test_user_errors_exit_with_2(run, images, tmp_path, flags, says):
    result = dedl("predict", run, images[0], "--out", tmp_path, *flags)
    assert result.exit_code == 2 and says in result.stderr


def test_without_a_run_or_an_input_it_says_what_is_needed(run, images):
    assert "run folder" in dedl("predict", images[0]).stderr
    assert "image or folder" in dedl("predict", run).stderr
