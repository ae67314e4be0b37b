"""Ensembles: the mean of the members, their spread, and runs that do not go together."""

import json
import shutil

import numpy as np
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.experiment.config import SegConfig
from dedl_fastai.experiment.seg import train_seg
from dedl_fastai.inference import Ensemble, load_run

from ..options import TINY


@pytest.fixture(scope="module")
def runs(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    for seed in (1, 2):
        train_seg(SegConfig.resolve({**TINY, "data": str(tiny_folder), "epochs": 1, "seed": seed}), folder / str(seed))
    return [folder / "1", folder / "2"]


def test_mean_and_spread_are_those_of_the_members(runs, tiny_cohort):
    image = tiny_cohort.table.image[0]
    found = Ensemble.load(runs, device="cpu").predict(image)
    members = np.stack([load_run(r, device="cpu").probability(image) for r in runs])
    np.testing.assert_allclose(found.mean, members.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.sd, members.std(0), atol=1e-4)
    assert 0 < found.uncertainty <= 1


def test_one_member_is_the_run_itself(runs, tiny_cohort):
    image = tiny_cohort.table.image[0]
    one, run = Ensemble.load(runs[:1], device="cpu"), load_run(runs[0], device="cpu")
    assert one.threshold == run.threshold
    assert (one.mask(image) == run.mask(image)).all() and not one.predict(image).sd.any()


def test_threshold_is_the_mean(runs):
    thresholds = [load_run(r, device="cpu").threshold for r in runs]
    assert Ensemble.load(runs, device="cpu").threshold == pytest.approx(np.mean(thresholds))


@pytest.mark.parametrize(("name", "value"), [("channels", ["CD4"]), ("classes", ["background", "cell"])])
def test_members_that_differ_are_refused_with_the_difference(runs, tmp_path, name, value):
    other = shutil.copytree(runs[1], tmp_path / "other")
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**card, name: value}))
    with pytest.raises(UserError, match=name):
        Ensemble.load([runs[0], other], device="cpu")


def test_no_run_at_all_is_an_error():
    with pytest.raises(UserError, match="at least one"):
        Ensemble.load([])
