"""`step_cost`: time of a Learner's training step relative to a bare PyTorch loop with the same model and batches."""

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from torch import nn
from torch.amp import autocast

from ...data.scaling import PercentileScaling
from ...data.segmentation.facts import SegFacts
from ...models.device import AMPS, cpu_name, pick_device
from ...training.learner import FieldLearner
from ...training.segmentation.learner import seg_learner


class _Batches(list[Any]):
    """A list of batches that fastai accepts as a loader."""

    def __init__(self, batches: list[Any], bs: int, device: torch.device):
        super().__init__(batches)
        self.bs, self.device, self.dataset, self.rng = bs, device, range(len(batches) * bs), None


def step_cost(
    arch: str = "unet",
    encoder: str = "efficientnet-b0",
    decoder: tuple[int, ...] = (),
    tile: int = 128,
    bs: int = 16,
    amp: str = "no",
    channels_last: bool = False,
    steps: int = 5,  # per round
    rounds: int = 6,  # of each loop in turn
    device: str = "auto",
) -> dict[str, Any]:
    """Return seconds per step and tiles per second of the Learner and of a bare loop, and their ratio (medians)."""
    where = pick_device(device)
    learn = learner_on_batches(
        arch=arch,
        encoder=encoder,
        decoder=decoder,
        tile=tile,
        bs=bs,
        amp=amp,
        channels_last=channels_last,
        steps=steps,
        device=where,
    )
    loops = {"learner": lambda: learn.fit_schedule("constant", 1, 1e-4, 1e-4), "bare": _bare(learn, amp, channels_last)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    with learn.no_bar(), learn.no_logging():
        for name in [*loops] + [*loops] * rounds:
            seconds[name].append(seconds_of(loops[name], where) / steps)
    medians = {name: statistics.median(s[1:]) for name, s in seconds.items()}  # the first round warms up
    return {
        "arch": arch,
        "encoder": encoder,
        "tile": tile,
        "bs": bs,
        "amp": amp,
        "channels_last": channels_last,
        "device": device_name(where),
        "seconds": {name: round(s, 4) for name, s in medians.items()},
        "tiles_per_second": {name: round(bs / s, 2) for name, s in medians.items()},
        "learner_over_bare": round(medians["learner"] / medians["bare"], 3),
        "peak_gpu_mb": round(torch.cuda.max_memory_allocated(where) / 2**20) if where.type == "cuda" else None,
    }


def learner_on_batches(
    arch: str,
    encoder: str,
    decoder: tuple[int, ...],
    tile: int,
    bs: int,
    amp: str,
    channels_last: bool,
    steps: int,
    device: torch.device,
    app: str | Callback = "none",
) -> FieldLearner:
    """Return a Learner over `steps` random batches in memory."""
    torch.manual_seed(0)
    x = torch.rand(steps, bs, 1, tile, tile, device=device)
    y = (x[:, :, 0] > 0.85).long()
    batches = _Batches(list(zip(x, y, strict=True)), bs, device)
    dls = DataLoaders(batches, _Batches([], bs, device), device=device)
    dls.facts = SegFacts(
        channels=("DAPI",), scaling=PercentileScaling(), mean=(0.5,), std=(0.3,), tile=tile, foreground=0.15
    )
    cbs = [ChannelsLast()] if channels_last else []
    learn = seg_learner(dls, arch, encoder, "none", decoder_channels=decoder, amp=amp, app=app, seed=0, cbs=cbs)
    learn.model.to(device)
    return learn


def _bare(learn: FieldLearner, amp: str, channels_last: bool) -> Callable[[], None]:
    """Return the shortest loop that trains the same model on the same batches."""
    model: nn.Module = learn.model
    opt = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-5)
    device = learn.dls.device
    scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def loop() -> None:
        model.train()
        for x, y in learn.dls.train:
            x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
            with autocast(device.type, AMPS[amp]) if amp != "no" else nullcontext():
                loss = learn.loss_func(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
            opt.zero_grad()

    return loop


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor with the number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {torch.get_num_threads()} threads"


def seconds_of(loop: Callable[[], Any], device: torch.device) -> float:
    """Time a call, including the work that it leaves running on the device."""
    started = time.perf_counter()
    loop()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
