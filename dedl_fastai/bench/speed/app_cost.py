"""`app_cost`: time and peak memory of a training step with APP relative to one without, for shares of the rows."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ...models.device import pick_device
from ...training.segmentation.app import AppCallback
from .process import in_own_process, peak_mb
from .step import device_name, learner_on_batches, seconds_of


@dataclass(frozen=True)
class _Network:
    """Network and batches of a measurement."""

    arch: str
    encoder: str
    decoder: tuple[int, ...]
    tile: int
    bs: int
    amp: str


def app_cost(
    arch: str = "unet",
    encoder: str = "efficientnet-b0",
    decoder: tuple[int, ...] = (),
    tile: int = 480,
    bs: int = 16,
    amp: str = "no",
    rows: tuple[float, ...] = (0.25, 1.0),  # shares of the rows to measure
    rounds: int = 5,  # of two steps of each variant in turn
    device: str = "auto",
) -> dict[str, Any]:
    """Return median times over the rounds, measured in this process; peak memory in one process per variant."""
    network = _Network(arch=arch, encoder=encoder, decoder=decoder, tile=tile, bs=bs, amp=amp)
    medians = _median_seconds(network, rows, rounds, device)
    memory = {_label(share): _peak_mb(network, share, device) for share in (0.0, *rows)}
    return {
        **asdict(network),
        "device": device_name(pick_device(device)),
        "seconds": {name: round(s, 3) for name, s in medians.items()},
        "time_over_none": _over_none(medians),
        "peak_mb": memory,
        "memory_over_none": _over_none(memory),
    }


def app_time_over_none(
    arch: str,
    encoder: str,
    decoder: tuple[int, ...] = (),
    tile: int = 480,
    bs: int = 16,
    rows: tuple[float, ...] = (0.25, 1.0),
    rounds: int = 5,
    device: str = "auto",
) -> dict[str, float]:
    """Return the times of `app_cost` relative to a step without APP, without its measurements of memory."""
    network = _Network(arch=arch, encoder=encoder, decoder=decoder, tile=tile, bs=bs, amp="no")
    return _over_none(_median_seconds(network, rows, rounds, device))


def _median_seconds(network: _Network, rows: tuple[float, ...], rounds: int, device: str) -> dict[str, float]:
    where = pick_device(device)
    loops = {_label(share): _loop(network, share, device) for share in (0.0, *rows)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for name in [*loops] + [*loops] * rounds:
        seconds[name].append(seconds_of(loops[name], where) / 2)
    return {name: statistics.median(s[1:]) for name, s in seconds.items()}  # the first round warms up


def _over_none(measured: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value / measured["none"], 3) for name, value in measured.items()}


def _label(share: float) -> str:
    return f"rows {share:g}" if share else "none"


def _loop(network: _Network, share: float, device: str) -> Callable[[], None]:
    """Return a function that does two training steps; with `share=0`, without APP."""
    app = AppCallback(rows=share) if share else "none"
    learn = learner_on_batches(
        arch=network.arch,
        encoder=network.encoder,
        decoder=network.decoder,
        tile=network.tile,
        bs=network.bs,
        amp=network.amp,
        channels_last=False,
        steps=2,
        device=pick_device(device),
        app=app,
    )

    def loop() -> None:
        with learn.no_bar(), learn.no_logging():
            learn.fit_schedule("constant", 1, 1e-4, 1e-4)

    return loop


def _peak_mb(network: _Network, share: float, device: str) -> int:
    return in_own_process(_measured_peak, network, share, device)


def _measured_peak(network: _Network, share: float, device: str) -> int:
    _loop(network, share, device)()
    if pick_device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20)
    return round(peak_mb())
