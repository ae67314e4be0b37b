"""`ClfConfig`: the options of `clf`, with the paper's settings as defaults. Imports only the standard library."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ...errors import UserError
from ...models.names import NUCLEI
from ...training.options import CLF_RATES
from .base import check_not_negative, check_positive, numbers, option
from .training import DATA, ENSEMBLE, FIND, ITEMS, LABELS, LOG, LOSS, MODEL, SCHEDULE, TrainOptions, check_seed

CELLS = "cells"  # items, and the input of fields and tiles that are classified by their cells
MEASUREMENTS = "measurements"
ITEM_KINDS, CELL_INPUTS, JOINED = ("fields", "tiles", "cells"), (MEASUREMENTS, "markers"), ("none", MEASUREMENTS)
TREES, CROP_UM = 200, 24.0
INTENSITIES = ("auto", "raw", "scaled")
_FOR_NETWORKS = (MODEL, LOSS, SCHEDULE, LOG)  # topics whose options trees do not have
_PAPER: dict[str, Any] = {"epochs": 20, "lr": CLF_RATES[0], "lr_min": CLF_RATES[1], "wd": 0.0}
_FAST: dict[str, Any] = {
    "model": "resnet10t",
    "weights": "none",
    "size": 128,
    "epochs": 25,
    "lr": 2e-3,
    "lr_min": 2e-5,
    "opt": "adamw",
    "wd": 1e-2,
    "patience": 0,
}
_BAGS: dict[str, Any] = {"size": 128, "augment": "none"}  # of the pictures for the forest
_CROPS: dict[str, Any] = {**_FAST, "size": 48, "bs": 64, "epochs": 20, "loss": "bce", "class_weight": "none"}


@dataclass(frozen=True)
class ClfConfig(TrainOptions):
    """The options of a classification run, stored as config.json. Defaults are the paper's (sections 4.3, 7.4, 7.5)."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": _PAPER,
        "fast": _FAST,
        "demo": _FAST,
    }

    channel: str = option(
        "", "Channels of --input markers (default: all) or autofluorescence, by name or prefix.", DATA
    )
    seeds: str = option(
        "", "Train a member for each of these seeds, separated by commas (the paper: 26,77,334,517,994).", ENSEMBLE
    )
    rules: str = option("tfh5", "Phenotype rules for tables of markers: tfh5, vanburen3, or a text FILE.", LABELS)
    thresholds: str = option(
        "",
        "Intensity above which a marker is positive, as CD19=1.2,CD4=3 (default: from fields not tested).",
        LABELS,
    )
    min_cells: int = option(1, "A field has a class if at least this many of its cells have it.", LABELS)
    items: str = option(
        "", "What is classified: fields, tiles (with --tile), or single cells, with labels from their tables.", ITEMS
    )
    input: str = option(
        "",
        "Of fields and tiles: thumbnail (RGB, the paper's, default), autofluorescence, composite, markers, or cells "
        "(those that --seg finds). Of cells: measurements (default; no network), markers (a crop around each).",
        ITEMS,
    )
    size: int = option(384, "Edge of the model's input in pixels.", ITEMS)
    tile: int = option(0, "Cut fields into tiles of this many pixels, each a separate item (0: whole fields).", ITEMS)
    augment: str = option("paper", "paper (jitter or perspective, jitter or affine, flips), or none.", ITEMS)
    seg: str = option(
        "",
        "A segmentation RUN that finds the nuclei. Of --items cells (default: the cohort's own), of --input cells "
        "(default: nuclei, the model that comes with the package).",
        ITEMS,
    )
    seg_channel: str = option(
        "", "Of --input cells: channel in which --seg finds nuclei, such as blue (default: as in its training).", ITEMS
    )
    intensities: str = option(
        "auto",
        "Of measured cells: raw, scaled (within the field, for other exposures), auto (what validates better).",
        ITEMS,
    )
    crop_um: float = option(
        CROP_UM, "Of crops: edge of the square around a cell in um, which is resized to --size.", ITEMS, flag="crop"
    )
    join: str = option(
        "none",
        "Of crops: measurements of the cell join the network's features of the crop before its head; or none.",
        ITEMS,
    )
    trees: int = option(TREES, "Of measurements: trees of the forest; boosting has half as many rounds.", ITEMS)
    min_confidence: float = option(
        0.0, "Of cells: a type with a lower probability is left undecided, 0 to below 1.", ITEMS
    )
    model: str = option("resnet18", "Model: a name from the paper's table 4, or any model of timm.", MODEL)
    weights: str = option(
        "imagenet",
        "Initial weights: none, imagenet, advprop, noisy-student, packaged (with efficientnet-lite0..lite2, without a "
        "download), a FILE or a RUN.",
        MODEL,
    )
    freeze: bool = option(False, "Train only the head.", MODEL)
    body_lr: float = option(1.0, "Learning rate of the body, relative to that of the head.", SCHEDULE)
    drop: float = option(0.0, "Dropout before the head.", MODEL)
    loss: str = option("focal", "focal (the paper's), bce, asymmetric.", LOSS)
    gamma: float = option(2.0, "Focal loss: how strongly easy examples are down-weighted.", LOSS)
    class_weight: str = option(
        "inverse", "inverse, effective, none, or dedl (as released: common classes weigh more).", LOSS
    )
    swa_start: float = option(
        0.75,
        "Share of the run after which weights are averaged (SWA), or earlier if patience ends; 1: never.",
        SCHEDULE,
        formerly="swa",
    )
    swa_lr: float = option(0.0, "Constant learning rate while weights are averaged (0: the schedule's).", SCHEDULE)

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, "crop_um", "trees", "min_cells", "size", "body_lr", "swa_start")
        check_not_negative(self, "tile", "drop", "gamma", "swa_lr")
        for seed in self.member_seeds:
            check_seed(seed)
        object.__setattr__(self, "items", self.items or ("tiles" if self.tile else "fields"))
        object.__setattr__(self, "input", self.input or ("measurements" if self.items == "cells" else "thumbnail"))
        if self.input == CELLS:
            object.__setattr__(self, "seg", self.seg or NUCLEI)
        self._check_items()

    def _check_items(self) -> None:
        """Raise a `UserError` for items and options that do not go together."""
        if self.items not in ITEM_KINDS:
            raise UserError(f"items={self.items!r} is unknown; it may be {', '.join(ITEM_KINDS)}.")
        if (self.items == "tiles") != bool(self.tile):
            raise UserError(f"items={self.items} tile={self.tile}: `tile` is the edge of the items of items=tiles.")
        if self.intensities not in INTENSITIES:
            raise UserError(f"intensities={self.intensities!r} is unknown; it may be {', '.join(INTENSITIES)}.")
        if self.items == "cells":
            self._check_cells()
        else:
            self._check_fields()

    def _check_cells(self) -> None:
        """The same for cells as items."""
        if self.input not in CELL_INPUTS:
            raise UserError(f"input={self.input!r} is not for cells; it may be {' or '.join(CELL_INPUTS)}.")
        if self.join not in JOINED:
            raise UserError(f"join={self.join!r} is unknown; it may be {' or '.join(JOINED)}.")
        if self.join == MEASUREMENTS and self.input == MEASUREMENTS:
            raise UserError("`join` is for input=markers: measurements join crops.")
        if not 0 <= self.min_confidence < 1:
            raise UserError(f"min_confidence={self.min_confidence:g}: give a probability, 0 to below 1.")
        if self.lr == FIND:
            raise UserError(f"lr={FIND} is for fields and tiles: give a number for cells.")
        if self.folds or self.seeds:
            name = "folds" if self.folds else "seeds"
            raise UserError(f"`{name}` is for fields and tiles: for cells, `test_folds` tests each patient.")
        if self.seg_channel:
            raise UserError("`seg_channel` is for input=cells of fields and tiles: leave it out.")

    def _check_fields(self) -> None:
        """The same for fields and tiles as items, which may be classified by their cells."""
        if self.input == CELLS and self.channel:
            raise UserError("`channel` is for input=markers: of cells, all channels are measured.")
        defaults: dict[str, Any] = {"trees": TREES, "crop_um": CROP_UM, "join": "none", "min_confidence": 0.0}
        of_cells = {} if self.input == CELLS else {"seg": "", "seg_channel": "", "intensities": "auto"}
        given = [name for name, default in {**of_cells, **defaults}.items() if getattr(self, name) != default]
        if given or self.input == "measurements":
            name = given[0] if given else "input"
            hint = "items=cells or input=cells" if name in of_cells else "items=cells"
            raise UserError(f"`{name}` is for cells: give {hint} too.")

    @classmethod
    def resolve(cls, given: Mapping[str, Any]) -> "ClfConfig":
        """As `TrainOptions.resolve`; crops of cells have settings of their own, the same in all presets."""
        if given.get("items") == "cells" and given.get("input") == "markers":
            given = {**_CROPS, **given}
        elif given.get("input") == CELLS:
            given = {**_BAGS, **given}
        return super().resolve(given)

    @classmethod
    def without_use(cls, given: Mapping[str, Any]) -> str:
        """Return the first given option that a classifier of measured cells does not have, or ""."""
        by_items = given.get("items") == "cells" and given.get("input", "measurements") == "measurements"
        if not by_items and given.get("input") != CELLS:
            return ""
        names = {f.name for f in fields(cls) if f.metadata["topic"] in _FOR_NETWORKS}
        return next((name for name in given if name in names | {"size", "augment", "bs", "workers", "amp"}), "")

    @property
    def member_seeds(self) -> list[int]:
        """The seeds of the members: `seeds`, or `seed` alone."""
        return list(numbers(self.seeds, "seeds")) or [self.seed]
