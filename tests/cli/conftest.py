"""Fixtures: a tiny segmentation run, some fields, and the results of predicting them."""

import shutil
from pathlib import Path

import pytest

from dedl_fastai.data import Cohort
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg

from ..cluster.processes import running_cluster
from ..options import TINY
from .results import WRITE, dedl


@pytest.fixture(scope="session")
def run(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict") / "run"
    train_seg(SegConfig.resolve({**TINY, "data": str(tiny_folder), "epochs": 8}), folder)
    return folder


@pytest.fixture(scope="session")
def images(tiny_folder):
    return list(Cohort.load(tiny_folder).table.image[:3])


@pytest.fixture(scope="session")
def finished(run, images, tmp_path_factory):
    """The results of three fields. Tests must not change them."""
    out = tmp_path_factory.mktemp("predict") / "out"
    result = dedl("predict", run, *images, "--out", out, "--rules", "tfh5", "--write", WRITE)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def results(finished, tmp_path):
    """A copy of the results, which a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "results"))


@pytest.fixture
def copies(images, tmp_path):
    """Ten valid fields and a truncated one, in a folder that is not a cohort."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for i in range(10):
        shutil.copy(images[i % 3], folder / f"f{i}.tif")
    (folder / "f5b.tif").write_bytes(Path(images[0]).read_bytes()[:4000])
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Dask cluster, without workers at first."""
    pytest.importorskip("distributed")
    with running_cluster(tmp_path_factory.mktemp("dask")) as processes:
        yield processes
