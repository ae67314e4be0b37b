"""`read_back.py`: it knows every kind, agrees with what `predict` writes, and finds what differs."""

import importlib.metadata
import shutil

import numpy as np
import pytest
import tifffile

from dedl_fastai.data import Cohort
from dedl_fastai.predict.kinds import KINDS

from ..cli.results import dedl
from .read_back import OF_RUNS, READERS, read_back, table

OTHER_PROGRAMS = {"spatialdata in napari", *OF_RUNS}  # that open a kind, or open something else


@pytest.fixture(scope="module")
def results(tiny_folder, tmp_path_factory):
    """A field in every kind whose package is installed. Do not write into it."""
    out = tmp_path_factory.mktemp("read_back") / "results"
    image = Cohort.load(tiny_folder).table.image[0]
    done = dedl("predict", "nuclei", image, "--out", out, "--rules", "tfh5", "--write", "all,geojson.gz")
    assert done.exit_code == 0, done.output
    return out


def test_every_kind_has_a_reader():
    assert set(READERS) == set(KINDS) | OTHER_PROGRAMS


@pytest.mark.parametrize("kind", [k for k in READERS if k not in OF_RUNS])
def test_what_predict_writes_is_read_back(results, kind):
    for library in READERS[kind].libraries:
        try:
            importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{library} is not installed")
    (row,) = read_back(results, only=[kind])
    assert row.passed, row.text


def test_labels_of_another_place_and_files_that_are_missing_are_found(results, tmp_path):
    spoiled = shutil.copytree(results, tmp_path / "spoiled")
    (labels,) = spoiled.glob("*_labels.ome.tif")
    tifffile.imwrite(labels, np.roll(tifffile.imread(labels), 5, axis=1))
    for missing in spoiled.glob("*_overlay.png"):
        missing.unlink()
    rows = {r.kind: r for r in read_back(spoiled, only=["mask", "labels", "cells", "overlay", OF_RUNS[0]])}
    assert {kind for kind, row in rows.items() if row.passed} == {"cells"}
    assert rows["overlay"].text.endswith("_overlay.png is missing") and "PhysicalSizeX" in rows["labels"].text
    assert "FAILED: not given" in table([rows[OF_RUNS[0]]])
