"""`speed`: tiles per second of training, cost of APP, loader and engines, per model, with the hardware."""

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ...models.device import pick_device
from ...training.run_folder import package_versions
from .app_cost import app_time_over_none
from .engines import engine_speed
from .loader import loader_speed
from .step import device_name, learner_on_batches, seconds_of

TRAINING: dict[str, dict[str, Any]] = {
    "fp32": {},
    "channels_last": {"channels_last": True},
    "bf16": {"amp": "bf16"},
    "bf16 channels_last": {"amp": "bf16", "channels_last": True},
    "compile": {"compiled": True},
    "bf16 channels_last compile": {"amp": "bf16", "channels_last": True, "compiled": True},
}
PARTS = ("train", "app", "engines", "loader")


def speed(
    models: Sequence[tuple[str, str]] = (("unet", "resnet18"), ("unet", "efficientnet-b0")),  # (arch, encoder)
    decoder: tuple[int, ...] = (),
    tile: int = 480,
    bs: int = 16,
    rounds: int = 5,  # of each variant in turn
    parts: Sequence[str] = PARTS,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure the speeds of this machine; ratios are taken within this call."""
    where = pick_device(device)
    speeds: dict[str, Any] = {
        "hardware": device_name(where),
        "cpus": os.cpu_count(),
        "versions": package_versions(),
        "tile": tile,
        "bs": bs,
        "models": {},
    }
    for arch, encoder in models:
        of_model: dict[str, Any] = {}
        if "train" in parts:
            of_model["train"] = training_speed(
                arch, encoder, decoder=decoder, tile=tile, bs=bs, rounds=rounds, device=device
            )
        if "app" in parts:
            of_model["app_time_over_none"] = app_time_over_none(
                arch, encoder, decoder=decoder, tile=tile, bs=bs, rounds=rounds, device=device
            )
        if "engines" in parts:
            of_model["engines"] = engine_speed(
                arch, encoder, decoder=decoder, tile=tile, bs=bs, rounds=rounds, device=device
            )
        speeds["models"][f"{arch}/{encoder}"] = of_model
    if "loader" in parts:
        speeds["loader"] = loader_speed(tile=tile, bs=bs)
    return speeds


def training_speed(
    arch: str,
    encoder: str,
    decoder: tuple[int, ...] = (),
    tile: int = 480,
    bs: int = 16,
    steps: int = 2,  # per round
    rounds: int = 5,
    device: str = "auto",
    variants: Sequence[str] = tuple(TRAINING),
) -> dict[str, Any]:
    """Return tiles per second of training steps (medians), their ratio to fp32, and why variants cannot run."""
    where = pick_device(device)
    loops, failed = {}, {}
    for name in variants:
        try:
            loop = _training_loop(
                arch, encoder, decoder=decoder, tile=tile, bs=bs, steps=steps, device=where, **TRAINING[name]
            )
            loop()  # warms up, and compiles
        except (RuntimeError, NotImplementedError) as e:  # no compiler, memory or kernel for bf16
            failed[name] = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"
        else:
            loops[name] = loop
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for name in [*loops] * rounds:
        seconds[name].append(seconds_of(loops[name], where) / steps)
    medians = {name: statistics.median(s) for name, s in seconds.items()}
    return {
        "tiles_per_second": {name: round(bs / s, 2) for name, s in medians.items()},
        "over_fp32": {name: round(medians["fp32"] / s, 2) for name, s in medians.items() if "fp32" in medians},
        "failed": failed,
    }


def _training_loop(
    arch: str,
    encoder: str,
    decoder: tuple[int, ...],
    tile: int,
    bs: int,
    steps: int,
    device: torch.device,
    amp: str = "no",
    channels_last: bool = False,
    compiled: bool = False,
) -> Callable[[], None]:
    learn = learner_on_batches(
        arch=arch,
        encoder=encoder,
        decoder=decoder,
        tile=tile,
        bs=bs,
        amp=amp,
        channels_last=channels_last,
        steps=steps,
        device=device,
    )
    if compiled:
        learn.model.compile()

    def loop() -> None:
        with learn.no_bar(), learn.no_logging():
            learn.fit_schedule("constant", 1, 1e-4, 1e-4)

    return loop


def speed_lines(found: Mapping[str, Any], against: Mapping[str, Any] | None = None) -> list[str]:
    """Return a Markdown table of `speed`'s numbers; with earlier ones as `against`, also those and the ratios."""
    now, before = numbers_of(found), numbers_of(against or {})
    head = ["", "here"] + (["before", "here / before"] if against else [])
    lines = [
        f"{found['hardware']}, tile {found['tile']}, batch {found['bs']}",
        "",
        _row(head),
        _row(["---"] * len(head)),
    ]
    for name, value in now.items():
        old = before.get(name)
        compared = [f"{old:g}" if old else "", f"{value / old:.2f}" if old else ""] if against else []
        lines.append(_row([name, f"{value:g}", *compared]))
    return lines + (_warnings(found, against) if against else [])


def numbers_of(found: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return every number of a nested result, by its path."""
    flat: dict[str, float] = {}
    for name, value in found.items():
        path = f"{prefix}, {name}" if prefix else name
        if isinstance(value, Mapping):
            flat |= numbers_of(value, path) if name != "versions" else {}
        elif isinstance(value, int | float) and not isinstance(value, bool) and prefix:
            flat[path.removeprefix("models, ")] = value
    return flat


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _warnings(found: Mapping[str, Any], against: Mapping[str, Any]) -> list[str]:
    """Name differences of hardware, settings and versions: a change of speed may be due to them."""
    differs = [k for k in ("hardware", "cpus", "tile", "bs") if found.get(k) != against.get(k)]
    ours, theirs = found.get("versions", {}), against.get("versions", {})
    differs += [f"{k} ({theirs.get(k)} then, {v} now)" for k, v in ours.items() if theirs.get(k) != v]
    return ["", "Not the same in both: " + ", ".join(differs) + "."] if differs else []
