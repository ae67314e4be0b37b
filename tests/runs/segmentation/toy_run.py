"""Small trainings on one or several processes of `test_torchrun`; each writes its results."""

from pathlib import Path

import psutil
import torch
from fastai.callback.core import Callback
from fastai.optimizer import SGD

from dedl_fastai.data import Cohort, seg_dataloaders
from dedl_fastai.runs.cohort import load_split_cohort
from dedl_fastai.runs.lifecycle import fit_run
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import dataloaders_of, learner_of
from dedl_fastai.training import EpochSeed, FieldLearner, Keeper, TileIoU, TunedIoU
from dedl_fastai.training.processes.group import close_group, first_before_others, open_group, rank, share_of_batch
from dedl_fastai.training.run_folder import RunFolder

from ...options import TINY

ROWS_OF_APP = {"app": "gelu", "app_width": 64, "app_rows": 0.25, "epochs": 1}  # one epoch, before rounding grows


class Interrupted(Exception):
    """Stands for anything that ends a run early."""


class Interrupt(Callback):
    """Ends the training within the given epoch."""

    def __init__(self, epoch: int):
        self.at = epoch

    def after_batch(self) -> None:
        if self.training and self.learn.epoch == self.at:
            raise Interrupted("in the middle of an epoch")


def main(data: str, out: str) -> None:
    """Train in the process group that torchrun's environment defines; write the results to `out`/RANK.pt."""
    open_group()
    folder = Path(out)
    listening = [c for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    results = {
        "listens to": sorted({c.laddr.ip for c in listening}),
        "plain": train_plain(data, folder),
        "augmented": train_augmented(data, folder),
        "rows of app": train_augmented(data, folder, **ROWS_OF_APP),
        "whole": train_with_app(data, folder / "whole"),
        "resumed": train_with_app(data, folder / "resumed", interrupt_in=2),
    }
    torch.save(results, folder / f"{rank()}.pt")
    close_group()


def train_plain(data: str, folder: Path) -> dict:
    """A convolution by gradient descent, without augmentation and batch norm; 36 training and 9 validation tiles."""
    cohort = Cohort.load(data)
    cohort = cohort.with_split(["train"] * 4 + ["valid"] + ["ignore"] * (len(cohort) - 5))
    with first_before_others():
        dls = seg_dataloaders(
            cohort, tile=43, bs=share_of_batch(12), augment=[], seed=1, device="cpu", cache=folder / "cache"
        )
    torch.manual_seed(rank())  # the weights of process 0 are used
    model = torch.nn.Conv2d(1, 2, 5, padding=2)
    cbs = [EpochSeed(3)]
    learn = FieldLearner(
        dls, model, torch.nn.CrossEntropyLoss(), opt_func=SGD, metrics=[TileIoU(), TunedIoU()], cbs=cbs
    )
    options = SegConfig(epochs=3, lr=0.5, schedule="constant")
    fit_run(learn, RunFolder.at(folder), options, Keeper(folder / "plain"), bar=False)
    rows = [[float(value) for value in row] for row in learn.recorder.values]
    return {"weights": dict(learn.model.state_dict()), "tiles": (dls.train.n, dls.valid.n), "rows": rows}


def train_augmented(data: str, folder: Path, **changed: object) -> dict:
    """The training of `seg` with batch norm, augmentation and schedule; 96 training tiles."""
    cohort = Cohort.load(data)
    cohort = cohort.with_split(["train"] * 4 + ["valid"] + ["ignore"] * (len(cohort) - 5))
    options = SegConfig.resolve({**TINY, "data": data, "tile": 24, "bs": 16, "lr": 1e-3, "loss": "ce", **changed})
    with first_before_others():
        dls = dataloaders_of(options, cohort)
    learn = learner_of(options, dls)
    fit_run(learn, RunFolder.at(folder), options, Keeper(folder / f"augmented-{options.app}"), bar=False)
    rows = [[float(value) for value in row] for row in learn.recorder.values]
    app = learn.app.history() if options.app != "none" else {}
    return {"weights": dict(learn.model.state_dict()), "rows": rows, "app": app}


def train_with_app(data: str, folder: Path, interrupt_in: int | None = None) -> dict:
    """The training of `seg` with APP; if `interrupt_in` is given, ended within that epoch and resumed."""
    options = SegConfig.resolve({**TINY, "data": data, "app": "gelu", "app_width": 64})
    if interrupt_in is not None:
        try:
            _fit(options, folder, [Interrupt(interrupt_in)])
        except Interrupted:
            assert (folder / "resume.pt").exists()
    learn = _fit(options, folder)
    return {"weights": dict(learn.model.state_dict()), "autoencoder": learn.app.autoencoder.state_dict()}


def _fit(options: SegConfig, folder: Path, cbs: tuple | list = ()) -> FieldLearner:
    with first_before_others():
        dls = dataloaders_of(options, load_split_cohort(options))
    learn = learner_of(options, dls)
    fit_run(learn, RunFolder.at(folder), options, Keeper(folder, patience=options.patience), bar=False, cbs=cbs)
    return learn
