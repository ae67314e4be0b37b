"""How long the paper's runs would take on this machine: counted work of each network, times a measured step."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ...runs.options.tasks import CONFIGS
from .tables import PaperCell

TRAIN_TILES, VALID_TILES = 1452, 720  # the paper's 5.1
TRAIN_PICTURES, VALID_PICTURES = 198 * 0.8 * 5 / 6, 198 * 0.8 / 6  # its 4.3: a fifth for testing, a sixth validates
REFERENCE = {"arch": "unet", "encoder": "resnet18"}  # whose step is measured
# What a million activations take, in billions of multiply-adds: fitted to steps of six U-Nets on a CPU, which it then
# explains within 7 %. Multiply-adds alone would not do: EfficientNets take three times as long for one as ResNets.
_MEGA_IN_GMACS = 0.09


@dataclass(frozen=True)
class NetworkCost:
    """A forward pass for one item: 1e9 multiply-adds, and 1e6 numbers written by all its operations."""

    gmacs: float
    mega_activations: float

    def __add__(self, other: "NetworkCost") -> "NetworkCost":
        return NetworkCost(self.gmacs + other.gmacs, self.mega_activations + other.mega_activations)

    @property
    def work(self) -> float:
        """Both as one number, in billions of multiply-adds."""
        return self.gmacs + _MEGA_IN_GMACS * self.mega_activations

    def scaled(self, factor: float) -> "NetworkCost":
        """So many times this: another number of pixels, of items, or of passes."""
        return NetworkCost(self.gmacs * factor, self.mega_activations * factor)


@dataclass(frozen=True)
class Speed:
    """Seconds of a training step (forward, backward, optimiser) for a unit of forward work."""

    seconds_a_unit: float
    device: str

    def seconds(self, cost: NetworkCost) -> float:
        """Of a training step over something that costs so much forward."""
        return self.seconds_a_unit * cost.work


def stored_cost(task: str, options: dict[str, Any]) -> NetworkCost:
    """The forward cost of the network that a cell's options name, for one item of the paper's size; with APP's share.

    From published/networks.csv, which `count_costs.networks_csv` made. Raises `KeyError` for networks not in it.
    """
    table = _stored()
    if task == "clf":
        return table["clf", options["model"]]
    cost = table["seg", f"{options['arch']} {options['encoder']}"].scaled((options.get("tile", 480) / 480) ** 2)
    return cost if options.get("app", "none") == "none" else cost + table["seg", "app"]


@cache
def _stored() -> dict[tuple[str, str], NetworkCost]:
    text = (files(__package__) / "published" / "networks.csv").read_text(encoding="utf-8")
    return {
        (r["task"], r["network"]): NetworkCost(float(r["gmacs"]), float(r["mega_activations"]))
        for r in csv.DictReader(io.StringIO(text))
    }


def distinct_runs(cells: Iterable[PaperCell]) -> dict[tuple, PaperCell]:
    """The trainings behind these cells at the paper's settings, seeds and folds; equal ones are one."""
    found: dict[tuple, PaperCell] = {}
    for cell in cells:
        if cell.why_not:
            continue
        resolved = tuple(sorted(CONFIGS[cell.task].resolve(cell.options).to_dict().items()))
        for seed in cell.seeds:
            for fold in range(max(1, cell.folds)):
                found.setdefault((cell.task, resolved, seed, fold), cell)
    return found


def run_hours(cell: PaperCell, speed: Speed) -> float:
    """Estimated hours of one training of a cell (one seed, one fold): all epochs of the paper, evaluation left out."""
    epochs = CONFIGS[cell.task].resolve(cell.options).epochs
    train, valid = (TRAIN_TILES, VALID_TILES) if cell.task == "seg" else (TRAIN_PICTURES, VALID_PICTURES)
    pixels = 1.0
    if cell.task == "seg":  # smaller tiles are more
        pixels = (480 / cell.options.get("tile", 480)) ** 2
    items = (train + valid / 3) * pixels * epochs  # a forward pass alone is about a third of a step
    return speed.seconds(stored_cost(cell.task, cell.options)) * items / 3600


def hours(cells: Iterable[PaperCell], speed: Speed) -> float:
    """Estimated hours of all distinct runs behind these cells, one after another."""
    return sum(run_hours(cell, speed) for cell in distinct_runs(cells).values())


@cache
def measure_speed(device: str = "auto", rounds: int = 3) -> Speed:
    """Time training steps of a small U-Net on this machine, once a process: seconds, most of them imports.

    Steps of other U-Nets came within a quarter of the estimate, those of classification models were up to 1.8 times
    it (CPU).
    """
    from ...models.device import pick_device
    from ..speed.step import device_name, learner_on_batches, seconds_of

    where = pick_device(device)
    tile, bs = (128, 2) if where.type == "cpu" else (480, 4)  # a GPU wants to be filled
    learn = learner_on_batches(
        **REFERENCE, decoder=(), tile=tile, bs=bs, amp="no", channels_last=False, steps=1, device=where
    )
    with learn.no_bar(), learn.no_logging():
        seconds = [seconds_of(lambda: learn.fit_schedule("constant", 1, 1e-4, 1e-4), where) for _ in range(rounds + 1)]
    work = stored_cost("seg", REFERENCE).scaled(bs * (tile / 480) ** 2).work
    return Speed(min(seconds[1:]) / work, device_name(where))  # the first warms up; what else runs only slows a step
