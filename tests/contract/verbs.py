"""The contract: verbs of a fastai Learner that both tasks answer. One subclass for each loss and each input."""

import pickle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.progress import CSVLogger
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from fastai.interpret import Interpretation
from fastai.learner import load_learner

import dedl_fastai.all  # noqa: F401 (as a notebook does: brings the verbs of the rooms above training)


class BatchLog(Callback):
    """A user's own logger, in the manner of fastai's W&B and TensorBoard callbacks."""

    def __init__(self):
        self.losses, self.epochs = [], []

    def after_batch(self):
        if self.training:
            self.losses.append(float(self.loss))

    def after_epoch(self):
        self.epochs.append(dict(zip(self.recorder.metric_names, self.recorder.log, strict=False)))


class LearnerVerbs:
    """Checks of one kind of Learner; subclasses give the fixtures `learn` (new), `image` (a file) and `n_classes`."""

    monitor = ""  # a metric

    @pytest.fixture(autouse=True)
    def _closed_figures(self):
        yield
        plt.close("all")

    # predicting

    def test_predict_item(self, learn):
        _decoded, label, probability = learn.predict(learn.dls.valid.items[0])
        assert label.shape == probability.shape[1:] or label.shape == probability.shape
        assert float(probability.min()) >= 0 and float(probability.max()) <= 1

    def test_predict_with_input(self, learn):
        assert len(learn.predict(learn.dls.valid.items[0], with_input=True)) == 4

    def test_predict_path(self, learn, image):
        _decoded, _label, probability = learn.predict(image)
        again = learn.predict(str(image))[2]
        assert torch.equal(torch.as_tensor(probability), torch.as_tensor(again))
        assert float(probability.min()) >= 0 and float(probability.max()) <= 1

    def test_test_dl_of_items(self, learn):
        items = list(learn.dls.valid.items[:3])
        preds, targets = learn.get_preds(dl=learn.dls.test_dl(items))
        assert len(preds) == 3 and targets is None
        labelled = learn.get_preds(dl=learn.dls.test_dl(items, with_labels=True))
        assert torch.allclose(labelled[0], preds) and len(labelled[1]) == 3

    def test_test_dl_of_paths(self, learn, image):
        preds, _ = learn.get_preds(dl=learn.dls.test_dl([image, str(image)]))
        half = len(preds) // 2
        assert half >= 1 and torch.allclose(preds[:half], preds[half:])

    def test_predict_agrees_with_get_preds(self, learn):
        item = learn.dls.valid.items[1]
        preds, _ = learn.get_preds(dl=learn.dls.test_dl([item]))
        assert torch.allclose(preds[0], torch.as_tensor(learn.predict(item)[2]), atol=1e-6)

    def test_get_preds_of_the_validation_set(self, learn):
        preds, targets, decoded = learn.get_preds(with_decoded=True)
        assert len(preds) == len(targets) == len(decoded) == learn.dls.valid.n

    def test_get_preds_with_loss(self, learn):
        _preds, _targets, losses = learn.get_preds(with_loss=True)
        assert losses.shape == (learn.dls.valid.n,) and losses.isfinite().all()
        assert learn.loss_func.reduction == "mean"

    def test_losses_of_items_are_those_of_one_item_alone(self, learn):
        items = list(learn.dls.valid.items[:2])
        together = learn.get_preds(dl=learn.dls.test_dl(items, with_labels=True), with_loss=True)[2]
        alone = [learn.get_preds(dl=learn.dls.test_dl([i], with_labels=True), with_loss=True)[2][0] for i in items]
        assert torch.allclose(together, torch.stack(alone), atol=1e-5)

    def test_tta(self, learn):
        preds, targets = learn.tta(n=2)
        plain = learn.get_preds()[0]
        assert preds.shape == plain.shape and len(targets) == len(preds)

    # looking

    def test_summary(self, learn):
        assert "Total trainable params" in str(learn.summary())

    def test_show_batch(self, learn):
        learn.dls.show_batch(max_n=2)
        learn.dls.valid.show_batch(max_n=2)

    def test_show_results(self, learn):
        learn.show_results(max_n=2)

    def test_top_losses(self, learn):
        found = Interpretation.from_learner(learn)
        losses, index = found.top_losses(2)
        assert losses[0] >= losses[1] and len(index) == 2
        found.plot_top_losses(2)
        found.show_results([0, 1])

    # training

    def test_lr_find(self, learn):
        before = {k: v.clone() for k, v in learn.model.state_dict().items()}
        assert learn.lr_find(num_it=10, show_plot=False).valley > 0
        assert all(torch.equal(before[k], v) for k, v in learn.model.state_dict().items())

    @pytest.mark.parametrize("verb", ["fit", "fit_one_cycle", "fit_flat_cos", "fit_cosine", "fine_tune"])
    def test_fit(self, learn, verb):
        before = [p.clone() for p in learn.model.parameters()]
        getattr(learn, verb)(1)
        assert any(not torch.equal(a, b) for a, b in zip(before, learn.model.parameters(), strict=True))
        assert np.isfinite(learn.recorder.values[-1]).all()

    def test_freeze_and_unfreeze(self, learn):
        assert len(learn.opt_func and learn.splitter(learn.model)) >= 2
        learn.freeze()
        trained = sum(p.requires_grad for p in learn.model.parameters())
        learn.unfreeze()
        assert 0 < trained < sum(p.requires_grad for p in learn.model.parameters())

    def test_a_frozen_body_stays_as_it_is(self, learn):
        learn.freeze()
        frozen = {n: p.clone() for n, p in learn.model.named_parameters() if not p.requires_grad}
        learn.fit(1, 1e-2)
        assert frozen and all(torch.equal(frozen[n], p) for n, p in learn.model.named_parameters() if n in frozen)

    def test_slice_of_rates(self, learn):
        learn.fit(1, slice(1e-5, 1e-3))
        assert learn.opt.hypers[0]["lr"] < learn.opt.hypers[-1]["lr"]

    def test_bf16(self, learn):
        learn.to_bf16().fit(1, 1e-4)
        assert np.isfinite(learn.recorder.values[-1]).all()
        assert all(p.dtype == torch.float32 for p in learn.model.parameters())
        assert learn.get_preds()[0].dtype == torch.float32

    def test_fp16_and_back(self, learn):
        learn.to_fp16().to_fp32().fit(1, 1e-4)
        assert np.isfinite(learn.recorder.values[-1]).all()

    def test_trackers(self, learn, tmp_path):
        learn.path = tmp_path
        save = SaveModelCallback(monitor=self.monitor, fname="best")
        learn.fit(2, 1e-3, cbs=[save, EarlyStoppingCallback(monitor=self.monitor, patience=5), CSVLogger()])
        assert (tmp_path / "models" / "best.pth").is_file() and (tmp_path / "history.csv").is_file()

    def test_a_callback_of_the_users_own(self, learn):
        log = BatchLog()
        learn.fit(1, 1e-3, cbs=log)
        assert len(log.losses) == len(learn.dls.train) and self.monitor in log.epochs[0]

    def test_validate(self, learn):
        assert len(learn.validate()) == 1 + len(learn.metrics)

    # keeping

    def test_save_and_load(self, learn, tmp_path):
        learn.path = tmp_path
        before = learn.get_preds()[0]
        learn.save("now")
        learn.fit(1, 1e-2)
        learn.load("now")
        assert torch.allclose(learn.get_preds()[0], before, atol=1e-6)

    def test_export_and_load_learner(self, learn, image, tmp_path):
        expected = learn.predict(image)[2]
        learn.export(tmp_path / "learner.pkl")
        loaded = load_learner(tmp_path / "learner.pkl")
        assert loaded.dls.facts == learn.dls.facts and list(loaded.dls.vocab) == list(learn.dls.vocab)
        assert torch.allclose(torch.as_tensor(loaded.predict(image)[2]), torch.as_tensor(expected), atol=1e-6)

    def test_dls_are_pickled_with_what_they_know(self, learn):
        assert pickle.loads(pickle.dumps(learn.dls)).facts == learn.dls.facts

    def test_files_of_a_fit_stay_in_its_folder(self, learn, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        learn.fit(1, 1e-3)
        assert not list(Path(tmp_path).iterdir())
