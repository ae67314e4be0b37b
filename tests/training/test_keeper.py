"""`Keeper`: a fit whose loss or weights stop being finite ends with the best weights so far."""

import logging

import pytest
import torch
from fastai.callback.core import Callback

from dedl_fastai.data import Cohort, TileAugment, seg_dataloaders, split_cohort
from dedl_fastai.errors import UserError
from dedl_fastai.models.weights import read_tensors
from dedl_fastai.training import Keeper, SwaCallback, seg_learner


class Spoil(Callback):
    """Sets a weight to NaN when an epoch's training ends."""

    order = 1

    def __init__(self, epoch: int):
        self.when = epoch

    def after_train(self):
        if self.epoch == self.when:
            next(iter(self.model.parameters())).data[0] = torch.nan


@pytest.fixture
def learn(tiny_folder):
    torch.manual_seed(0)
    dls = seg_dataloaders(
        split_cohort(Cohort.load(tiny_folder), "paper"), tile=32, bs=8, seed=0, augment=[TileAugment()]
    )
    return seg_learner(dls, "unet", "tu-test_resnet", "none", depth=2, decoder_channels=(16, 16), loss="ce-dice")


def test_the_best_weights_are_kept(learn, tmp_path, caplog):
    keeper = Keeper(tmp_path, "iou")
    with learn.no_bar(), learn.no_logging(), caplog.at_level(logging.WARNING, "dedl_fastai"):
        learn.fit_cosine(5, 1e-3, 1e-4, cbs=[keeper, Spoil(2), SwaCallback(0.2, folder=tmp_path)])
    assert "epoch 3: the loss or a weight is not finite" in caplog.text
    assert len(keeper.rows) == 3 and keeper.best_epoch in (0, 1)
    assert all(p.isfinite().all() for p in learn.model.parameters())
    assert all(t.isfinite().all() for t in read_tensors(tmp_path / "best.safetensors").values())
    assert all(t.isfinite().all() for t in read_tensors(tmp_path / "swa.safetensors").values())
    assert not (tmp_path / "last.safetensors").exists()


def test_nothing_to_keep_is_an_error(learn, tmp_path):
    with learn.no_bar(), learn.no_logging(), pytest.raises(UserError, match="lower `lr`"):
        learn.fit_cosine(2, 1e-3, 1e-4, cbs=[Keeper(tmp_path, "iou"), Spoil(0)])
