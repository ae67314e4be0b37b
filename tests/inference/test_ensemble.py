"""Ensembles: mean and deviation of the members, and runs that do not fit together."""

import json
import shutil

import numpy as np
import pytest

from dedl_fastai.cells.measure import measure_cells
from dedl_fastai.cells.options import NucleiOptions
from dedl_fastai.errors import UserError
from dedl_fastai.inference import Ensemble, load_run
from dedl_fastai.io import open_field
from dedl_fastai.phenotypes import Rules
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg

from ..options import TINY
from .fields import bright_ensemble, nuclei_plane, write_field


@pytest.fixture(scope="module")
def runs(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    for seed in (1, 2):
        train_seg(SegConfig.resolve({**TINY, "data": str(tiny_folder), "epochs": 1, "seed": seed}), folder / str(seed))
    return [folder / "1", folder / "2"]


def test_mean_and_deviation_are_those_of_the_members(runs, tiny_cohort):
    image = tiny_cohort.table.image[0]
    predicted = Ensemble.load(runs, device="cpu").mean_and_sd(image)
    members = np.stack([load_run(r, device="cpu").probability(image) for r in runs])
    np.testing.assert_allclose(predicted.mean, members.mean(0), atol=1e-6)
    np.testing.assert_allclose(predicted.sd, members.std(0), atol=1e-4)
    assert 0 < predicted.uncertainty <= 1


def test_an_ensemble_of_one_member_equals_the_run(runs, tiny_cohort):
    image = tiny_cohort.table.image[0]
    single, run = Ensemble.load(runs[:1], device="cpu"), load_run(runs[0], device="cpu")
    assert single.threshold == run.threshold
    assert (single.mask(image) == run.mask(image)).all() and not single.mean_and_sd(image).sd.any()


def test_threshold_is_the_mean_of_the_members(runs):
    thresholds = [load_run(r, device="cpu").threshold for r in runs]
    assert Ensemble.load(runs, device="cpu").threshold == pytest.approx(np.mean(thresholds))


@pytest.mark.parametrize(("name", "value"), [("channels", ["CD4"]), ("classes", ["background", "cell"])])
def test_members_that_differ_are_refused_with_the_difference(runs, tmp_path, name, value):
    other = shutil.copytree(runs[1], tmp_path / "other")
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**card, name: value}))
    with pytest.raises(UserError, match=name):
        Ensemble.load([runs[0], other], device="cpu")


def test_an_ensemble_without_runs_is_refused():
    with pytest.raises(UserError, match="at least one"):
        Ensemble.load([])


def test_members_with_different_tile_sizes_use_the_largest_and_log_it(runs, tmp_path, tiny_cohort, caplog):
    other = shutil.copytree(runs[0], tmp_path / "other")
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**card, "tile": 64}))
    with caplog.at_level("INFO", "dedl_fastai"):
        ensemble = Ensemble.load([runs[0], other], device="cpu")
    assert ensemble.tile == 64 and "tiles of 64 pixels" in caplog.text
    assert not ensemble.mean_and_sd(tiny_cohort.table.image[0]).sd.any()  # the same weights on the same tiles


@pytest.mark.parametrize("how", [{"tta": "flips"}, {"bs": 1}, {"channels_last": True}])
def test_prediction_options_reach_the_members_and_hardly_change_the_result(runs, tiny_cohort, how):
    image = tiny_cohort.table.image[0]
    plain, other = Ensemble.load(runs, device="cpu"), Ensemble.load(runs, device="cpu", **how)
    assert all(getattr(m, name) == value for m in other.members for name, value in how.items())
    np.testing.assert_allclose(
        other.mean_and_sd(image).mean, plain.mean_and_sd(image).mean, atol=0.15 if "tta" in how else 1e-4
    )


def test_each_member_standardises_with_its_own_statistics(tmp_path):
    path = write_field(tmp_path / "field.ome.tif", nuclei_plane((70, 90))[None])
    one, two = bright_ensemble().members[0], bright_ensemble(mean=[0.2], std=[2.0]).members[0]
    expected = (one.probability(path) + two.probability(path)) / 2
    np.testing.assert_allclose(Ensemble([one, two]).mean_and_sd(path).mean, expected, atol=1e-6)


def test_segment_and_cells_of_a_file_and_of_an_open_field(tmp_path):
    path = write_field(tmp_path / "field.ome.tif", nuclei_plane((120, 150))[None])
    ensemble = bright_ensemble()
    labels, cells = ensemble.segment(path), ensemble.cells(path)
    assert labels.dtype == np.int32 and labels.shape == (120, 150)
    assert (cells["label"] == np.arange(1, labels.max() + 1)).all() and cells["probability"].min() > 0.5
    with open_field(path) as field:
        np.testing.assert_array_equal(ensemble.segment(field), labels)
        given = ensemble.cells(field, labels)
    assert given.equals(cells[given.columns]) and "probability" not in given
    fewer = NucleiOptions(min_area_um2=40)
    assert 0 < ensemble.segment(path, nuclei=fewer).max() == len(ensemble.cells(path, nuclei=fewer)) < labels.max()


def test_phenotypes_are_the_same_for_predicted_and_given_labels(runs, tiny_cohort):
    image, rules = tiny_cohort.table.image[0], Rules.load("tfh5")
    ensemble = Ensemble.load(runs[:1], device="cpu", overlap=0.5)
    assert ensemble.members[0].overlap == 0.5
    labels = ensemble.segment(image)
    predicted, given = ensemble.cells(image, rules=rules), ensemble.cells(image, labels, rules=rules)
    assert set(rules.classes) <= set(predicted.phenotype.cat.categories)
    assert len(predicted) == labels.max() > 0 and predicted.phenotype.tolist() == given.phenotype.tolist()


def test_thresholds_without_rules_are_refused_before_anything_is_predicted(tmp_path):
    path = write_field(tmp_path / "field.ome.tif", nuclei_plane((64, 64))[None])
    ensemble = bright_ensemble()
    ensemble.members[0].model = None  # would not predict
    for labels in (None, np.ones((64, 64), np.int32)):
        with pytest.raises(UserError, match="markers of rules"):
            ensemble.cells(path, labels, thresholds={"DAPI": 0.5})
    with pytest.raises(UserError, match="markers of rules"):
        measure_cells(np.ones((64, 64), np.int32), {}, thresholds={"DAPI": 0.5})


def test_the_overlap_is_that_of_the_runs_and_the_largest_of_several(runs, tmp_path):
    other, bare = (shutil.copytree(runs[1], tmp_path / name) for name in ("other", "bare"))
    options = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**options, "overlap": 0.5}))
    (bare / "config.json").unlink()

    def overlaps(*paths, **how):
        return [m.overlap for m in Ensemble.load(paths, device="cpu", **how).members]

    assert overlaps(runs[0]) == [0.25] and overlaps(other) == [0.5] and overlaps(bare) == [0.25]
    assert overlaps(runs[0], other) == [0.5, 0.5] and overlaps(runs[0], other, overlap=0) == [0, 0]
    assert load_run(other, device="cpu").overlap == 0.5 and load_run(other, device="cpu", overlap=0).overlap == 0
