"""APP on two processes: each sees other tiles, both end with the same model and the same autoencoder."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from dedl_fastai.data import Cohort, seg_dataloaders, split_cohort
from dedl_fastai.training import AppCallback, EpochSeed, seg_learner

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")


def _train(rank: int, data: str, cache: str, meeting: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    cohort = split_cohort(Cohort.load(data), "paper")
    dls = seg_dataloaders(cohort, tile=32, bs=8, seed=1, device="cpu", cache=cache)
    app = AppCallback(hidden=(64, 16, 8), rows=0.5, seed=rank)  # other first weights, which rank 0 overrules
    network = {"weights": "none", "depth": 2, "decoder_channels": (16, 16)}
    torch.manual_seed(0)
    learn = seg_learner(dls, "unet", "tu-test_resnet", app=app, cbs=[EpochSeed(rank)], **network)
    learn.model = DistributedDataParallel(learn.model)
    with learn.no_bar(), learn.no_logging():
        learn.fit_cosine(2, 1e-3)
    torch.save(
        {
            "model": {k: v for k, v in learn.model.module.state_dict().items() if "running" not in k},
            "autoencoder": app.autoencoder.state_dict(),
            "ratio": torch.tensor(app.log_ratio),
            "loss": torch.tensor(float(learn.recorder.smooth_loss.value)),
        },
        f"{out}/{rank}.pt",
    )
    dist.destroy_process_group()


def test_both_processes_end_with_the_same_autoencoder_and_model(tiny_folder, tmp_path):
    arguments = (str(tiny_folder), os.environ["DEDL_CACHE"], str(tmp_path / "meeting"), str(tmp_path))
    mp.spawn(_train, arguments, nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for part in ("autoencoder", "model"):
        assert all(torch.equal(first[part][k], second[part][k]) for k in first[part] if "num_batches" not in k), part
    assert torch.equal(first["ratio"], second["ratio"])
    assert not torch.equal(first["loss"], second["loss"])  # they did see other tiles
