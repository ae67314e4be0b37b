"""Options that `seg` and `clf` share: data, split, schedule, hardware. Imports only the standard library."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ...data.options import EACH_PATIENT, SEED
from ...errors import UserError
from ...training.options import SEG_RATES, TRACKERS, floor_of
from .base import Options, check_not_negative, check_positive, option

DATA, LABELS, ITEMS, MODEL, LOSS = "Data", "Labels", "Items and augmentation", "Model", "Loss"
APP, SCHEDULE, ENSEMBLE, HARDWARE = "Autoencoder post-processing (APP)", "Schedule", "Folds and seeds", "Hardware"
LOG = "Log"


FIND = "find"  # as a learning rate: what the finder suggests
T = TypeVar("T", bound="TrainOptions")


def rate(value: float | str) -> float | str:
    """A learning rate as a number, or "find"; `UserError` for anything else."""
    if value == FIND:
        return FIND
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UserError(f"lr={value}: a number above 0, or {FIND}, is needed.")
    return number


@dataclass(frozen=True)
class DataOptions(Options):
    """Which fields are read, and which patients are in which split."""

    topics: ClassVar[tuple[str, ...]] = (DATA, LABELS, ITEMS, MODEL, LOSS, APP, SCHEDULE, ENSEMBLE, HARDWARE, LOG)

    data: str = option(
        "",
        "Folder of fields, a cohort.csv, or results with corrections; several times: all of their fields. Default: the "
        "demo cohort, created on first use.",
        DATA,
        more="more_data",
    )
    more_data: tuple[str, ...] = option((), "Further folders, given by repeating --data.", DATA, flag="data", own=False)
    preset: str = option(
        "paper",
        "paper: the paper's settings; fast: small and quick, for a laptop; demo: smaller still; of seg also best: as "
        "fast, five times as long; finetune: continues from a run.",
        DATA,
    )
    split: str = option("auto", "auto (the cohort's split column, else random), random, paper, column.", DATA)
    splits: str = option("", "splits.json of an earlier run, to use the same split.", DATA)
    patient: str = option(
        "", "Regular expression that finds the patient in a field's name; 'field': each field is its own patient.", DATA
    )
    limit_fields: int = option(0, "Use only this many fields, for a quick look (0: all).", DATA)
    channel: str = option("DAPI", "Input channels by name, prefix or index, separated by commas.", DATA)
    folds: int = option(0, "Train this many models, each validated on other patients (0: one model).", ENSEMBLE)
    test_folds: str = option(
        "",
        "Test each patient once: train this many models (or patients: one per patient), each tested on other patients.",
        ENSEMBLE,
    )
    seed: int = option(
        SEED, "Seed of the split, the initial weights, the order of items and the augmentation.", ENSEMBLE
    )
    workers: int = option(0, "Number of data loader processes.", HARDWARE)
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps.", HARDWARE)

    def __post_init__(self):
        object.__setattr__(self, "more_data", tuple(self.more_data))  # a list in config.json
        super().__post_init__()
        check_seed(self.seed)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the fields: `data` and `more_data`."""
        return (self.data, *self.more_data)


def check_seed(seed: int) -> None:
    """Raise a `UserError` for a seed that numpy does not take."""
    if not 0 <= seed < 1 << 32:
        raise UserError(f"seed={seed}: give a number from 0 to {(1 << 32) - 1}.")


def check_test_folds(options: DataOptions) -> None:
    """Raise a `UserError` if `test_folds` is not a number or "patients", or if another option sets the test split."""
    n = options.test_folds
    if not n:
        return
    if n != EACH_PATIENT and not (n.isdecimal() and int(n) >= 2):
        raise UserError(f"test_folds={n}: give a number of folds from 2 on, or {EACH_PATIENT} to test each in turn.")
    others = {"splits": options.splits, "folds": options.folds}
    given = [name for name, value in others.items() if value]
    given += ["split"] if options.split in ("paper", "column") else []
    if given:
        raise UserError(
            f"test_folds={n} tests every patient once, which `{given[0]}` would change: leave one of them out."
        )


@dataclass(frozen=True)
class TrainOptions(DataOptions):
    """How a model of either task is trained; the defaults are those of the paper's segmentation (section 7.5)."""

    percentiles: str = option("1,99.8", "Percentiles of a field's intensities that are scaled to 0 and 1.", DATA)
    train_only: tuple[str, ...] = option(
        (),
        "Folder whose fields are trained on and never validated or tested on, such as those of `data demo --difficulty "
        "packed`; may be repeated.",
        DATA,
        repeats=True,
    )
    train_fields: int = option(
        0, "Train on this many of the training fields, to see how many are needed (0: all, or --train-share).", DATA
    )
    train_share: float = option(1.0, "Train on this share of the training fields, in as many steps as on all.", DATA)
    epochs: int = option(50, "Passes over the training items.", SCHEDULE)
    bs: int = option(16, "Batch size, over all processes.", SCHEDULE)
    lr: float | str = option(
        SEG_RATES[0], "Highest learning rate, or find: that which `lr-find` suggests.", SCHEDULE, parse=rate
    )
    lr_min: float = option(
        SEG_RATES[1], "Learning rate at the end (with --lr alone: as far below it as that of the preset).", SCHEDULE
    )
    schedule: str = option(
        "cosine",
        "cosine (once over the run), one-cycle, step, constant, dedl (as released: oscillates every 50 batches).",
        SCHEDULE,
    )
    opt: str = option("adam", "Optimiser: adam (with L2, the paper's), adamw.", SCHEDULE)
    wd: float = option(1e-5, "Weight decay.", SCHEDULE)
    patience: int = option(5, "Stop after this many epochs without a better validation score (0: never).", SCHEDULE)
    amp: str = option("no", "Mixed precision: no, fp16, bf16, auto (the fastest of this device).", HARDWARE)
    accumulate: int = option(1, "Accumulate the gradients of this many batches before a step.", SCHEDULE)
    clip: float = option(0.0, "Clip the gradient's norm to this value (0: no clipping).", SCHEDULE)
    log: str = option(
        "", "Show the run in tensorboard (files in the run folder), mlflow or wandb too (with the extra log).", LOG
    )

    @property
    def all_folders(self) -> tuple[str, ...]:
        """The folders of the fields, and those that only train."""
        return (*self.folders, *self.train_only)

    @classmethod
    def resolve(cls: type[T], given: Mapping[str, Any]) -> T:
        """As `Options.resolve`; with `lr` alone, the floor is as far below it as the preset's is below its rate."""
        preset = given.get("preset", cls.default_of("preset"))
        if given.get("lr", FIND) != FIND and "lr_min" not in given and preset in cls.presets:
            given = {**given, "lr_min": cls.floor(float(rate(given["lr"])), preset)}
        return super().resolve(given)

    @classmethod
    def floor(cls, lr: float, preset: str) -> float:
        """Return the minimum learning rate that goes with `lr`: the preset's minimum, scaled by the same factor."""
        return floor_of(lr, (cls.default_of("lr", preset), cls.default_of("lr_min", preset)))

    def __post_init__(self):
        object.__setattr__(self, "lr", rate(self.lr))
        object.__setattr__(self, "train_only", tuple(self.train_only))  # a list in config.json
        super().__post_init__()
        check_positive(self, "epochs", "bs", "accumulate")
        if self.log and self.log not in TRACKERS:
            raise UserError(f"log={self.log!r} is unknown; it may be {', '.join(TRACKERS)}.")
        check_test_folds(self)
        check_not_negative(self, "limit_fields", "train_fields", "folds", "workers", "lr_min", "wd", "patience", "clip")
