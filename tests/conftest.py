"""Fixtures for all tests: tiny synthetic cohorts, a separate cache folder, no network, real data if available."""

import logging
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in parallel: more threads than cores slow each other down

import pytest

from .figures import blank_figures, drawn_figures

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch, tmp_path_factory):
    """Put caches and the demo cohort into a folder of the test session, not into the user's."""
    monkeypatch.setenv("DEDL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _log_level():
    """Restore the log level that a test of the command line changes with --quiet."""
    log = logging.getLogger("dedl_fastai")
    before = log.level
    yield
    log.setLevel(before)


@pytest.fixture(autouse=True, scope="session")
def _quick_runs():
    """Do not draw figures, plant few trees, do not wait for the disk: together as long as the rest of a tiny run."""
    from dedl_fastai.scores.forest import forest_probabilities

    with blank_figures(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(forest_probabilities, "__defaults__", (0, 20))  # seed, trees
        yield


@pytest.fixture
def drawn():
    """Draw the figures of a test."""
    with drawn_figures():
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A demo cohort of 7 patients with one field of 96 x 128 each, in Van Buren's layout. Do not write into it."""
    from dedl_fastai.data import demo_cohort

    folder = tmp_path_factory.mktemp("tiny") / "cohort"
    demo_cohort(folder, fields=7, patients=7, size=(96, 128), seed=1)
    return folder


@pytest.fixture(scope="session")
def many_folder(tmp_path_factory) -> Path:
    """A demo cohort of 10 patients with 40 fields of 64 x 64, for classification. Do not write into it."""
    from dedl_fastai.data import demo_cohort

    folder = tmp_path_factory.mktemp("many") / "cohort"
    demo_cohort(folder, fields=40, patients=10, size=(64, 64), seed=2)
    return folder


@pytest.fixture(scope="session")
def few_folder(tmp_path_factory) -> Path:
    """A demo cohort of 5 patients with two fields of 64 x 64 each, for members and folds. Do not write into it."""
    from dedl_fastai.data import demo_cohort

    folder = tmp_path_factory.mktemp("few") / "cohort"
    demo_cohort(folder, fields=10, patients=5, size=(64, 64), seed=2)
    return folder


@pytest.fixture
def tiny_cohort(tiny_folder):
    """The tiny cohort, loaded but not split."""
    from dedl_fastai.data import Cohort

    return Cohort.load(tiny_folder)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real fields, DEDL_SHARED_DATA or ../shared/data; tests are skipped if it does not exist."""
    folder = Path(os.environ.get("DEDL_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set DEDL_SHARED_DATA")
    return folder
