"""`app_cost`: time and peak memory of a training step with APP over one without, for shares of the rows."""

import statistics
from collections.abc import Callable
from typing import Any

import torch

from ...models.device import pick_device
from ...training.segmentation.app import AppCallback
from .process import in_own_process, peak_mb
from .step import device_name, learner_on_batches, seconds_of


def app_cost(
    arch: str = "unet",
    encoder: str = "efficientnet-b0",
    decoder: tuple[int, ...] = (),
    tile: int = 480,
    bs: int = 16,
    amp: str = "no",
    rows: tuple[float, ...] = (0.25, 1.0),  # shares of the rows to measure
    rounds: int = 5,  # of two steps each, by turns
    device: str = "auto",
) -> dict[str, Any]:
    """Medians over the rounds, taken by turns in this process; memory in a process for each variant."""
    where = pick_device(device)
    network = (arch, encoder, decoder, tile, bs, amp)
    loops = {_label(share): _loop(network, share, device) for share in (0.0, *rows)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for name in [*loops] + [*loops] * rounds:
        seconds[name].append(seconds_of(loops[name], where) / 2)
    medians = {name: statistics.median(s[1:]) for name, s in seconds.items()}  # the first of each warms up
    memory = {_label(share): _peak_mb(network, share, device) for share in (0.0, *rows)}
    return {
        **dict(zip(("arch", "encoder", "decoder", "tile", "bs", "amp"), network, strict=True)),
        "device": device_name(where),
        "seconds": {name: round(s, 3) for name, s in medians.items()},
        "time_over_none": {name: round(s / medians["none"], 3) for name, s in medians.items()},
        "peak_mb": memory,
        "memory_over_none": {name: round(mb / memory["none"], 3) for name, mb in memory.items()},
    }


def _label(share: float) -> str:
    return f"rows {share:g}" if share else "none"


def _loop(network: tuple, share: float, device: str) -> Callable[[], None]:
    """Two training steps; `share` 0 is a training without APP."""
    arch, encoder, decoder, tile, bs, amp = network
    app = AppCallback(rows=share) if share else "none"
    learn = learner_on_batches(arch, encoder, decoder, tile, bs, amp, False, 2, pick_device(device), app)

    def loop() -> None:
        with learn.no_bar(), learn.no_logging():
            learn.fit_schedule("constant", 1, 1e-4, 1e-4)

    return loop


def _peak_mb(network: tuple, share: float, device: str) -> int:
    return in_own_process(_measured_peak, network, share, device)


def _measured_peak(network: tuple, share: float, device: str) -> int:
    _loop(network, share, device)()
    if pick_device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20)
    return round(peak_mb())
