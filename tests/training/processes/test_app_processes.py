"""APP on two processes: they use different tiles, and end with the same model and the same autoencoder."""

import itertools
import math
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from dedl_fastai.data import Cohort, seg_dataloaders, split_cohort
from dedl_fastai.training import AppCallback, EpochSeed, seg_learner
from dedl_fastai.training.processes.group import close_group
from dedl_fastai.training.segmentation import app as app_module

from ...forked import Forked

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")


def _train(rank: int, data: str, cache: str, meeting: str, out: str, amp: str) -> None:
    torch.set_num_threads(1)
    patience = timedelta(seconds=60)  # of a process whose partner does not join
    dist.init_process_group("gloo", init_method=f"file://{meeting}", timeout=patience, rank=rank, world_size=2)
    if amp == "fp16" and rank == 1:
        app_module.reconstruction_grads = _overflowing_every_second_time(app_module.reconstruction_grads)
    cohort = split_cohort(Cohort.load(data), "paper")
    dls = seg_dataloaders(cohort, tile=32, bs=8, seed=1, device="cpu", cache=cache)
    app = AppCallback(hidden=(64, 16, 8), rows=0.5, seed=rank)  # rank 0 replaces the other initial weights of rank 1
    network = {"weights": "none", "depth": 2, "decoder_channels": (16, 16)}
    torch.manual_seed(0)
    learn = seg_learner(dls, "unet", "tu-test_resnet", app=app, amp=amp, seed=None, cbs=[EpochSeed(rank)], **network)
    learn.model = DistributedDataParallel(learn.model)
    with learn.no_bar(), learn.no_logging():
        learn.fit_cosine(2, 1e-3)
    learn.model = learn.model.module  # the wrapped model owns the group, whose threads would outlive the interpreter
    threads = _group_threads()
    close_group()
    torch.save(
        {
            "model": {k: v for k, v in learn.model.state_dict().items() if "running" not in k},
            "autoencoder": app.autoencoder.state_dict(),
            "ratio": torch.tensor(app.term_weight.log_ratio),
            "loss": torch.tensor(float(learn.recorder.smooth_loss.value)),
            "n_terms": torch.tensor(app.term_weight.n),
            "threads": (threads, _group_threads()),
        },
        f"{out}/{rank}.pt",
    )


def _overflowing_every_second_time(grads):
    calls = itertools.count()

    def overflowing(*args, **options):
        value, gradient = grads(*args, **options)
        return value, gradient * math.inf if next(calls) % 2 else gradient

    return overflowing


def _group_threads() -> int:
    """Threads of gloo in this process; 0 where the system has no /proc."""
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    return sum("gloo" in name for name in names)


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory) -> tuple[dict, dict]:
    return _on_two_processes(tiny_folder, tmp_path_factory.mktemp("processes"), "no")


def _on_two_processes(data: Path, folder: Path, amp: str) -> tuple[dict, dict]:
    arguments = [str(data), *(str(folder / name) for name in ("cache", "meeting")), str(folder), amp]
    running = [Forked(_train, rank, *arguments) for rank in (0, 1)]
    for process in running:
        assert process.wait(120) == 0, process.communicate()[1]
    return tuple(torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1))


def test_both_processes_end_with_the_same_autoencoder_and_model(trained):
    first, second = trained
    for part in ("autoencoder", "model"):
        assert all(torch.equal(first[part][k], second[part][k]) for k in first[part] if "num_batches" not in k), part
    assert torch.equal(first["ratio"], second["ratio"])
    assert not torch.equal(first["loss"], second["loss"])  # they used different tiles


def test_term_that_overflows_on_one_process_is_skipped_on_both(tiny_folder, tmp_path):
    first, second = _on_two_processes(tiny_folder, tmp_path, "fp16")
    assert first["n_terms"] == second["n_terms"] == 2  # of 4 batches per epoch
    assert torch.equal(first["ratio"], second["ratio"]) and first["ratio"].isfinite()
    for part in ("autoencoder", "model"):
        assert all(torch.equal(first[part][k], second[part][k]) for k in first[part] if "num_batches" not in k), part


def test_threads_of_the_group_end_before_the_process(trained):
    for process in trained:
        before, after = process["threads"]
        if not Path("/proc/self/task").is_dir():
            pytest.skip("threads are counted in /proc")
        assert before > 0
        assert after == 0
