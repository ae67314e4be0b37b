"""Ensembles: the verbs of a run, and `fit` of folds and seeds with a function of the user's, for both tasks."""

import json
from dataclasses import replace

import numpy as np
import pytest

import dedl_fastai.all  # noqa: F401 (the verbs)
from dedl_fastai.data import Cohort, clf_dataloaders, seg_dataloaders, split_cohort
from dedl_fastai.errors import UserError
from dedl_fastai.inference import ClassifierEnsemble, Ensemble, Segmenter, load_run
from dedl_fastai.training import clf_learner, seg_learner

SEEDS = {"seg": (26, 77), "clf": (77,)}


class Calls:
    """A user's training function, which remembers the cohort and seed of each call."""

    def __init__(self, learner):
        self.learner, self.seen = learner, []

    def __call__(self, cohort, seed):
        self.seen.append((dict(zip(cohort.table.patient, cohort.table.split, strict=True)), seed))
        learn = self.learner(cohort, seed)
        with learn.no_bar(), learn.no_logging():
            learn.fit_cosine(1, 2e-3)
        return learn

    def patients(self, split):
        return [{p for p, s in splits.items() if s == split} for splits, _ in self.seen]


def seg(cohort, seed):
    dls = seg_dataloaders(cohort, tile=32, bs=8, seed=seed)
    return seg_learner(dls, "unet", "tu-test_resnet", "none", depth=2, decoder_channels=(16, 16), seed=seed)


def clf(cohort, seed):
    dls = clf_dataloaders(cohort, size=32, bs=8, seed=seed)
    return clf_learner(dls, "test_resnet", "none", seed=seed)


@pytest.fixture(scope="module")
def trained(tiny_folder, many_folder, tmp_path_factory):
    """For each task: cohort, class of the ensemble, calls of the training function, folder, and the ensemble."""
    made = {}
    for task, kind, learner, folder in (
        ("seg", Ensemble, seg, tiny_folder),
        ("clf", ClassifierEnsemble, clf, many_folder),
    ):
        cohort, out, calls = split_cohort(Cohort.load(folder)), tmp_path_factory.mktemp(task), Calls(learner)
        made[task] = cohort, kind, calls, out, kind.fit(calls, cohort, out, folds=2, seeds=SEEDS[task])
    return made


@pytest.mark.parametrize("task", ["seg", "clf"])
class TestBothTasks:
    def test_a_member_for_each_fold_and_seed(self, trained, task):
        cohort, _, calls, out, ensemble = trained[task]
        names = [f"fold{fold}-seed{seed}" for fold in (0, 1) for seed in SEEDS[task]]
        assert sorted(p.name for p in out.iterdir()) == names and len(ensemble.members) == len(names)
        assert [seed for _, seed in calls.seen] == [*SEEDS[task], *SEEDS[task]]
        assert json.loads((out / "fold1-seed77" / "config.json").read_text())["seed"] == 77

        validated, tested = calls.patients("valid"), calls.patients("test")
        first, last = validated[0], validated[-1]
        assert validated == [first] * len(SEEDS[task]) + [last] * len(SEEDS[task]) and not first & last
        assert tested == [set(cohort.part("test").table.patient)] * len(names)
        assert first | last | tested[0] == set(cohort.table.patient)

    def test_members_that_exist_are_not_trained_again(self, trained, task):
        cohort, kind, _, out, _ = trained[task]
        calls = Calls(None)
        again = kind.fit(calls, cohort, out, folds=2, seeds=(77,))
        assert calls.seen == [] and len(again.members) == 2
        image = cohort.table.image[0]
        alone = kind.load([out / "fold0-seed77", out / "fold1-seed77"]).predict(image)[2]
        assert np.allclose(again.predict(image)[2], alone)

    def test_members_of_another_split_are_refused(self, trained, task):
        cohort, kind, _, out, _ = trained[task]
        with pytest.raises(UserError, match="another split"):
            kind.fit(Calls(None), cohort, out, folds=3, seeds=(26, 77))

    def test_evaluates_the_fields_of_its_runs(self, trained, task):
        _, _, _, out, ensemble = trained[task]
        metrics = ensemble.evaluate()
        assert metrics["baselines"]
        one = load_run(out / "fold0-seed77").evaluate()
        assert one["test"] == json.loads((out / "fold0-seed77" / "metrics.json").read_text())["test"]
        assert one["test"] != metrics["test"]

    def test_fields_that_a_member_was_trained_on_are_refused(self, trained, task):
        with pytest.raises(UserError, match="do not have the same valid fields"):
            trained[task][4].evaluate(split="valid")
        with pytest.raises(UserError, match="split='best'"):
            trained[task][4].evaluate(split="best")

    def test_the_function_must_return_its_learner(self, trained, task, tmp_path):
        cohort, kind, _, _, _ = trained[task]
        with pytest.raises(UserError, match="must return the Learner"):
            kind.fit(lambda cohort, seed: None, cohort, tmp_path)


def test_predictions_of_segmentations_are_the_mean(trained):
    cohort, _, _, _, ensemble = trained["seg"]
    image = cohort.table.image[0]
    mask, integers, probability = ensemble.predict(image)
    members = np.stack([m.predict(image)[2] for m in ensemble.members])
    np.testing.assert_allclose(probability, members.mean(0), atol=1e-6)
    np.testing.assert_array_equal(mask, ensemble.mask(image))
    np.testing.assert_array_equal(integers, mask)
    np.testing.assert_array_equal(probability[1], ensemble.probability(image))


def test_predictions_of_classifications_are_the_mean(trained, many_folder):
    cohort, _, _, _, ensemble = trained["clf"]
    image = cohort.table.image[0]
    names, present, probability = ensemble.predict(image)
    members = np.stack([m.predict(image)[2] for m in ensemble.members])
    np.testing.assert_allclose(probability, members.mean(0), atol=1e-6)
    np.testing.assert_allclose(ensemble.thresholds, np.mean([m.thresholds for m in ensemble.members], axis=0))
    assert list(names) == ensemble.labels(image) and list(ensemble.probability(image)) == ensemble.classes
    assert present.tolist() == [int(c in names) for c in ensemble.classes]


def test_members_with_other_pictures_predict_files_and_no_pictures(trained):
    cohort, _, _, _, ensemble = trained["clf"]
    one, image = ensemble.members[0], cohort.table.image[0]
    larger = replace(one, card={**one.card, "data": {**one.card["data"], "size": 48}})
    mixed = ClassifierEnsemble([one, larger])
    expected = np.mean([one.predict(image)[2].numpy(), larger.predict(image)[2].numpy()], axis=0)
    np.testing.assert_allclose(mixed.predict(image)[2], expected, atol=1e-6)
    with pytest.raises(UserError, match="their size differs"):
        mixed.evaluate(cohort)


def test_runs_of_the_other_task_name_the_class_that_loads_them(trained):
    seg_out, clf_out = trained["seg"][3], trained["clf"][3]
    with pytest.raises(UserError, match=r"ClassifierEnsemble\.load"):
        Ensemble.load([clf_out / "fold0-seed77"])
    with pytest.raises(UserError, match="segmentation run"):
        ClassifierEnsemble.load([seg_out / "fold0-seed26"])
    with pytest.raises(UserError, match="at least one"):
        ClassifierEnsemble.load([])


def test_a_model_without_a_run_needs_a_cohort(trained):
    cohort, *_ = trained["seg"]
    model = Segmenter.of(seg(cohort, 1))
    with pytest.raises(UserError, match="give a `cohort`"):
        model.evaluate()
    assert model.evaluate(cohort)["test"]["n_fields"] == len(cohort.part("test"))
