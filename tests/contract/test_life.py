"""One life: what a notebook trains is evaluated, predicts, and becomes a run folder, without a second training."""

import json

import numpy as np
import pytest

import dedl_fastai.all  # noqa: F401 (the verbs)
from dedl_fastai.data import Cohort, TileAugment, clf_dataloaders, seg_dataloaders, split_cohort
from dedl_fastai.errors import UserError
from dedl_fastai.inference import Classifier, Segmenter, load_run
from dedl_fastai.runs import evaluate_run
from dedl_fastai.training import clf_learner, seg_learner


@pytest.fixture(scope="module")
def seg(tiny_folder, tmp_path_factory):
    cohort = split_cohort(Cohort.load(tiny_folder), "paper")
    dls = seg_dataloaders(cohort, tile=32, bs=8, seed=0, augment=[TileAugment()])
    learn = seg_learner(dls, "unet", "tu-test_resnet", "none", depth=2, decoder_channels=(16, 16), loss="ce-dice")
    with learn.no_bar(), learn.no_logging():
        learn.fit_cosine(4, 2e-3, 1e-4)
    folder = tmp_path_factory.mktemp("life") / "seg"
    return learn, learn.save_run(folder)


@pytest.fixture(scope="module")
def clf(many_folder, tmp_path_factory):
    dls = clf_dataloaders(split_cohort(Cohort.load(many_folder)), size=32, bs=8, seed=0)
    learn = clf_learner(dls, "test_resnet", "none")
    with learn.no_bar(), learn.no_logging():
        learn.fit_cosine(2, 2e-3, 1e-4)
    folder = tmp_path_factory.mktemp("life") / "clf"
    return learn, learn.save_run(folder)


@pytest.mark.parametrize("task", ["seg", "clf"])
def test_the_run_has_every_file_that_commands_read(task, request):
    _, run = request.getfixturevalue(task)
    names = {"config.json", "splits.json", "manifest.json", "history.csv", "model.json", "metrics.json"}
    assert names | {"best.safetensors", "last.safetensors"} <= {p.name for p in run.iterdir()}


@pytest.mark.parametrize("task", ["seg", "clf"])
def test_evaluate_run_gives_the_digits_of_learn_evaluate(task, request):
    learn, run = request.getfixturevalue(task)
    again, ours = evaluate_run(run), json.loads((run / "metrics.json").read_text())
    assert again["test"] == ours["test"] and again["baselines"]["otsu" if task == "seg" else "constant"]
    assert learn.evaluate()["test"] == ours["test"]


def test_a_segmentation_predicts_as_its_run_does(seg, tiny_folder):
    learn, run = seg
    image = Cohort.load(tiny_folder).table.image[0]
    mask, _, probability = learn.predict(image)
    loaded = load_run(run)
    assert np.allclose(probability[1], loaded.probability(image), atol=1e-6)
    assert np.array_equal(np.asarray(mask, bool), loaded.mask(image))
    assert Segmenter.of(learn).threshold == loaded.threshold


def test_a_classification_predicts_as_its_run_does(clf, many_folder):
    learn, run = clf
    image = Cohort.load(many_folder).table.image[0]
    loaded = load_run(run)
    (names, present, probability), (*others, same) = learn.predict(image), loaded.predict(image)
    assert names == others[0] and present.tolist() == others[1].tolist() and np.allclose(probability, same, atol=1e-6)
    assert np.array_equal(Classifier.of(learn).thresholds, loaded.thresholds)


def test_a_folder_in_use_is_refused(seg, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match="not empty"):
        seg[0].save_run(tmp_path)


def test_evaluate_another_cohort(seg, tiny_folder):
    learn, _ = seg
    other = split_cohort(Cohort.load(tiny_folder), "random", seed=3)
    metrics = learn.evaluate(other)
    assert metrics["test"]["n_fields"] == len(other.part("test"))
