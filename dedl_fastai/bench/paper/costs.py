"""Estimates of how long the paper's runs take on this machine: counted work of each network times a measured step."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ...runs.options.tasks import CONFIGS
from .tables import PaperCell

TRAIN_TILES, VALID_TILES = 1452, 720  # the paper, 5.1
TRAIN_PICTURES, VALID_PICTURES = 198 * 0.8 * 5 / 6, 198 * 0.8 / 6  # the paper, 4.3: a fifth tests, a sixth validates
REFERENCE = {"arch": "unet", "encoder": "resnet18"}  # the network whose step is measured
# Time of a million activations in billions of multiply-adds: fitted to steps of six U-Nets on a CPU, which it predicts
# within 7 %. Multiply-adds alone do not suffice: one takes EfficientNets three times as long as ResNets.
_MEGA_IN_GMACS = 0.09


@dataclass(frozen=True)
class NetworkCost:
    """Cost of a forward pass for one item: multiply-adds in 1e9, and numbers written by all operations in 1e6."""

    gmacs: float
    mega_activations: float

    def __add__(self, other: "NetworkCost") -> "NetworkCost":
        return NetworkCost(self.gmacs + other.gmacs, self.mega_activations + other.mega_activations)

    @property
    def work(self) -> float:
        """Both as one number, in billions of multiply-adds."""
        return self.gmacs + _MEGA_IN_GMACS * self.mega_activations

    def scaled(self, factor: float) -> "NetworkCost":
        """Return this cost times a factor, for another number of pixels, items or passes."""
        return NetworkCost(self.gmacs * factor, self.mega_activations * factor)


@dataclass(frozen=True)
class Speed:
    """Seconds that a training step (forward, backward, optimiser) takes per unit of forward work."""

    seconds_a_unit: float
    device: str

    def seconds(self, cost: NetworkCost) -> float:
        """Seconds of a training step whose forward pass has this cost."""
        return self.seconds_a_unit * cost.work


def stored_cost(task: str, options: dict[str, Any]) -> NetworkCost:
    """Return the forward cost of the network in a cell's options, for one item of the paper's size; includes APP's.

    It is read from published/networks.csv, which `networks.networks_csv` writes. Raises `KeyError` for other networks.
    """
    table = _stored()
    cost = table[task, network_name(task, options)]
    if task == "clf":
        return cost
    cost = cost.scaled((options.get("tile", 480) / 480) ** 2)
    return cost if options.get("app", "none") == "none" else cost + table["seg", "app"]


def network_name(task: str, options: dict[str, Any]) -> str:
    """Name of the network in a cell's options, as in published/networks.csv: "unet resnet18", or a `clf` model."""
    parts = ("model",) if task == "clf" else ("arch", "encoder")
    return " ".join(str(options.get(name, CONFIGS[task].default_of(name))) for name in parts)


@cache
def _stored() -> dict[tuple[str, str], NetworkCost]:
    text = (files(__package__) / "published" / "networks.csv").read_text(encoding="utf-8")
    return {
        (r["task"], r["network"]): NetworkCost(float(r["gmacs"]), float(r["mega_activations"]))
        for r in csv.DictReader(io.StringIO(text))
    }


def distinct_runs(cells: Iterable[PaperCell]) -> dict[tuple[Any, ...], PaperCell]:
    """Return the trainings behind these cells at the paper's settings, seeds and folds, without duplicates."""
    runs: dict[tuple[Any, ...], PaperCell] = {}
    for cell in cells:
        if cell.why_not:
            continue
        resolved = tuple(sorted(CONFIGS[cell.task].resolve(cell.options).to_dict().items()))
        for seed in cell.seeds:
            for fold in range(max(1, cell.folds)):
                runs.setdefault((cell.task, resolved, seed, fold), cell)
    return runs


def run_hours(cell: PaperCell, speed: Speed) -> float:
    """Estimate the hours of one training (one seed, one fold) with the paper's epochs, without evaluation."""
    epochs = CONFIGS[cell.task].resolve(cell.options).epochs
    train, valid = (TRAIN_TILES, VALID_TILES) if cell.task == "seg" else (TRAIN_PICTURES, VALID_PICTURES)
    pixels = 1.0
    if cell.task == "seg":  # smaller tiles are more numerous
        pixels = (480 / cell.options.get("tile", 480)) ** 2
    items = (train + valid / 3) * pixels * epochs  # a forward pass alone is about a third of a step
    return speed.seconds(stored_cost(cell.task, cell.options)) * items / 3600


def hours(cells: Iterable[PaperCell], speed: Speed) -> float:
    """Estimate the hours of all distinct runs behind these cells, one after another."""
    return sum(run_hours(cell, speed) for cell in distinct_runs(cells).values())


@cache
def measure_speed(device: str = "auto", rounds: int = 3) -> Speed:
    """Time training steps of a small U-Net on this machine, once per process; takes seconds, mostly for imports.

    On a CPU, steps of other U-Nets took within 25 % of the estimate, those of classification models up to 1.8
    times as long.
    """
    from ...models.device import pick_device
    from ..speed.step import device_name, learner_on_batches, seconds_of

    where = pick_device(device)
    tile, bs = (128, 2) if where.type == "cpu" else (480, 4)  # a small step does not use all of a GPU
    learn = learner_on_batches(
        arch=REFERENCE["arch"],
        encoder=REFERENCE["encoder"],
        decoder=(),
        tile=tile,
        bs=bs,
        amp="no",
        channels_last=False,
        steps=1,
        device=where,
    )
    with learn.no_bar(), learn.no_logging():
        seconds = [seconds_of(lambda: learn.fit_schedule("constant", 1, 1e-4, 1e-4), where) for _ in range(rounds + 1)]
    work = stored_cost("seg", REFERENCE).scaled(bs * (tile / 480) ** 2).work
    return Speed(min(seconds[1:]) / work, device_name(where))  # the first warms up; other processes only slow a step
