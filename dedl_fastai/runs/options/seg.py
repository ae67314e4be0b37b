"""Options of `seg`: the paper's settings as defaults, presets `fast` and `demo`. Imports the standard library alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import UserError
from .base import Options, check_not_negative, check_positive, option

_FAST: dict[str, Any] = {
    "encoder": "resnet18",
    "weights": "none",
    "decoder": "64,32,16",
    "tile": 256,
    "pad": "reflect",
    "dihedral": True,
    "loss": "ce-dice",
    "epochs": 12,
    "lr": 2e-3,
    "lr_min": 2e-5,
    "opt": "adamw",
    "wd": 1e-2,
    "patience": 0,
}


@dataclass(frozen=True)
class DataOptions(Options):
    """What is read, and who is on which side."""

    data: str = option("", "Folder of fields or a cohort.csv. Without it, the demo cohort is made (or reused).")
    preset: str = option("paper", "paper: its settings; fast: small and quick, for a laptop; demo: smaller still.")
    split: str = option("auto", "auto (the cohort's split column, else random), random, paper, column.")
    splits: str = option("", "splits.json of an earlier run: the same fields on the same sides.")
    patient: str = option("", "Regular expression that finds the patient in a field's name; 'field': each its own.")
    limit_fields: int = option(0, "Use only so many fields, for a quick look (0: all).")
    channel: str = option("DAPI", "Channel the model sees, by name, prefix or index; several with commas between.")
    folds: int = option(0, "Train this many models, each validated on other patients (0: one model).")
    seed: int = option(26, "Seeds the split, the initial weights, the order of tiles and their augmentation.")
    workers: int = option(0, "Loader processes.")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps.")


@dataclass(frozen=True)
class TrainOptions(DataOptions):
    """How a model is trained, whatever it is; the defaults are those of the paper's segmentation (its 7.5)."""

    percentiles: str = option("1,99.8", "Intensities at these percentiles of a field become 0 and 1.")
    epochs: int = option(50, "Passes over the training items.")
    bs: int = option(16, "Items a batch, of all processes together.")
    lr: float = option(3.6e-4, "Highest learning rate; `lr-find` suggests one.")
    lr_min: float = option(3.4e-4, "Learning rate at the end.")
    schedule: str = option(
        "cosine", "cosine (once over the run), one-cycle, step, dedl (swings all 50 batches), constant."
    )
    opt: str = option("adam", "adam (with L2, the paper's), adamw.")
    wd: float = option(1e-5, "Weight decay.")
    patience: int = option(5, "Stop after so many epochs without a better validation score (0: never).")
    amp: str = option("no", "Mixed precision: no, fp16, bf16.")
    accumulate: int = option(1, "Add the gradients of so many batches before a step.")
    clip: float = option(0.0, "Largest norm of the gradient (0: no limit).")

    def __post_init__(self):
        check_positive(self, "epochs", "bs", "lr", "accumulate")
        check_not_negative(self, "limit_fields", "folds", "workers", "lr_min", "wd", "patience", "clip")


@dataclass(frozen=True)
class SegConfig(TrainOptions):
    """Every option of a segmentation run; stored as config.json. The defaults are the paper's (its 4.2 and 7.5)."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": _FAST,
        "demo": {**_FAST, "tile": 128, "bs": 8, "epochs": 20},
    }

    arch: str = option("unet", "Decoder: unet, unetplusplus, fpn, manet, linknet, deeplabv3plus, segformer, ...")
    encoder: str = option("resnet34", "Encoder: resnet18..101, efficientnet-b0..b7, any of smp, timm's as tu-NAME.")
    weights: str = option(
        "imagenet", "Initial weights of the encoder: none, imagenet, advprop, noisy-student, or FILE."
    )
    depth: int = option(3, "Stages of the encoder that are used (1 to 5).")
    decoder: str = option("", "Widths of the decoder, from deep to shallow (default for depth 3: 256,128,64).")
    decoder_attention: str = option("se", "Attention in the decoder: none, se (channels), scse (as released).")
    tile: int = option(480, "Edge of a tile in pixels (the paper: 480; 256 in its comparison).")
    pad: str = option("zero", "What lies beyond the field's edge: zero, or reflect for its mirror image.")
    skip_blank: bool = option(False, "Leave training tiles without a nucleus out.")
    rotate: float = option(3.0, "Rotate tiles by up to so many degrees.")
    flips: bool = option(True, "Flip tiles along both axes.")
    dihedral: bool = option(False, "Quarter turns of tiles too.")
    loss: str = option("weighted-ce", "weighted-ce (by class frequency, the paper's), ce, dice, ce-dice, focal.")
    app: str = option("none", "The paper's autoencoder post-processing (APP) while training: none, gelu, relu.")
    app_weight: str = option(
        "auto", "Weight of APP's loss: auto (holds --app-target), summed (1, beside a summed main loss), or a number."
    )
    app_target: float = option(0.1, "With auto: APP's share of the gradient at the logits, over the main loss's.")
    app_lr: float = option(1e-3, "Learning rate of the autoencoder.")
    app_schedule: str = option("constant", "Schedule of that rate: constant, cosine.")
    app_loss: str = option("mse", "APP's loss: mse (the paper), ce (the released code).")
    app_width: int = option(15360, "Neurons of the autoencoder's widest layer.")
    app_rows: float = option(0.25, "Share of the rows of a batch that APP's loss is estimated from.")
    app_released: bool = option(
        False, "APP as released: cross-entropy of all class maps, every row, as heavy as the main loss."
    )
    overlap: float = option(0.25, "Share of a tile that its neighbour covers too, when whole fields are predicted.")

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, "tile", "app_target", "app_lr", "app_width")
        check_not_negative(self, "rotate", "overlap")
        if self.overlap >= 1:
            raise UserError(f"--overlap {self.overlap:g}: it is a share of a tile, from 0 to below 1.")
        if self.app_released and self.app == "none":
            raise UserError("--app-released needs --app relu (as released) or --app gelu.")
