"""`SegConfig`: the options of `seg`, with the paper's settings as defaults. Imports only the standard library."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ...data.options import PAD, SAMPLES, UNIFORM
from ...errors import UserError
from ...inference.options import OVERLAP
from .base import check_not_negative, check_positive, option
from .training import APP, ITEMS, LOSS, MODEL, SCHEDULE, TrainOptions

FINETUNE = "finetune"  # the preset of training that continues from a run
AUTO = "auto"  # weights: packaged where installed; head: distance where masks tell nuclei apart
_FAST: dict[str, Any] = {
    "encoder": "efficientnet-lite0",
    "weights": AUTO,
    "depth": 4,
    "decoder": "128,64,32,16",
    "head": AUTO,
    "tile": 256,
    "bs": 8,
    "pad": "reflect",
    "augment": "standard",
    "loss": "ce-dice",
    "epochs": 4,
    "lr": 3e-3,
    "lr_min": 3e-6,
    "schedule": "one-cycle",
    "opt": "adamw",
    "wd": 1e-2,
    "patience": 0,
}

_DEMO: dict[str, Any] = {  # the synthetic cohort is simple: more epochs of a smaller network, and less augmentation
    **_FAST,
    "depth": 3,
    "decoder": "64,32,16",
    "tile": 128,
    "augment": "paper",
    "dihedral": True,
    "epochs": 20,
    "lr": 2e-3,
    "lr_min": 2e-5,
    "schedule": "cosine",
}

_FINETUNE: dict[str, Any] = {  # network, tile, scaling, channel and loss are those of the run: `with_run_options`
    **_FAST,
    "epochs": 10,
    "lr": 2e-3,
    "lr_min": 2e-5,
    "encoder_lr": 0.1,
    "schedule": "cosine",
    "keep_stats": True,  # those of a few corrected regions spoil the model everywhere else
    "blend": True,  # so that few corrections do not cost what the run could do before
    "min_tiles": 64,  # one corrected region would be a single step an epoch
}


@dataclass(frozen=True)
class SegConfig(TrainOptions):
    """The options of a segmentation run, stored as config.json. Defaults are the paper's (sections 4.2 and 7.5)."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": _FAST,
        "best": {**_FAST, "epochs": 20},
        "demo": _DEMO,
        FINETUNE: _FINETUNE,
    }

    arch: str = option("unet", "Decoder: unet, unetplusplus, fpn, manet, linknet, deeplabv3plus, segformer, ...", MODEL)
    encoder: str = option(
        "resnet34",
        "Encoder: resnet18..101, efficientnet-b0..b7 or -lite0..lite4, any other of smp, or of timm as tu-NAME.",
        MODEL,
    )
    weights: str = option(
        "imagenet",
        "Initial weights of the encoder: none, imagenet, advprop, noisy-student, packaged (with "
        "efficientnet-lite0..lite2, without a download), auto (packaged if installed, else none), nuclei (all of the "
        "model that comes with this package), a FILE or a RUN. Without a --preset, training continues from nuclei or a "
        "RUN, with its network, scaling and split (--preset finetune).",
        MODEL,
    )
    depth: int = option(3, "Number of encoder stages that are used (1 to 5).", MODEL)
    decoder: str = option("", "Decoder channels, from deep to shallow (default for depth 3: 256,128,64).", MODEL)
    decoder_attention: str = option(
        "se", "Attention in the decoder: none, se (channels, the paper's), scse (as released).", MODEL
    )
    head: str = option(
        "mask",
        "What is predicted beside the mask to tell nuclei apart: mask (nothing), distance, flow, auto (distance if the "
        "masks hold ids of nuclei).",
        MODEL,
    )
    head_weight: float = option(1.0, "Weight of the head's loss beside the main loss.", LOSS)
    tile: int = option(480, "Edge of a tile in pixels (the paper: 480, and 256 for comparison).", ITEMS)
    pad: str = option(PAD, "Padding beyond the field's edge: zero, or reflect.", ITEMS)
    skip_blank: bool = option(False, "Leave out training tiles without nuclei.", ITEMS)
    min_tiles: int = option(
        0, "Training tiles of an epoch at least: where there are fewer, an epoch shows each several times.", ITEMS
    )
    sample: str = option(
        UNIFORM,
        "Training tiles of an epoch: uniform (each once), or foreground (as many draws, a third of them in proportion "
        "to the tile's nucleus pixels, as in nnU-Net; for fields that are mostly empty).",
        ITEMS,
    )
    augment: str = option(
        "paper",
        "paper (as --rotate, --flips and --dihedral say), standard (any rotation, zoom, contrast), wide (standard, and "
        "nuclei of down to half the size), strong (standard, and gamma, blur, noise).",
        ITEMS,
    )
    crowd: float = option(
        0.0, "With a head: share of training tiles that get nuclei of their own mirror images, which touch.", ITEMS
    )
    rotate: float = option(3.0, "With --augment paper: rotate tiles by up to this many degrees.", ITEMS)
    flips: bool = option(True, "With --augment paper: flip tiles along both axes.", ITEMS)
    dihedral: bool = option(False, "With --augment paper: also rotate tiles by quarter turns.", ITEMS)
    loss: str = option("weighted-ce", "weighted-ce (by class frequency, the paper's), ce, dice, ce-dice, focal.", LOSS)
    encoder_lr: float = option(1.0, "Learning rate of the encoder, relative to that of the decoder.", SCHEDULE)
    keep_stats: bool = option(
        False, "Batch normalisation keeps the statistics of the initial weights, for few images.", SCHEDULE
    )
    blend: bool = option(
        False,
        "In the end, take a mean of the weights that training started from and those it reached: that which is best on "
        "the validation fields. For few images, from weights that fit them already.",
        SCHEDULE,
    )
    app: str = option("none", "Activation of the autoencoder: none (no APP), gelu (the paper's), relu.", APP)
    app_weight: str = option(
        "auto",
        "Weight of APP's loss: auto (see --app-target), summed (1, with a summed main loss), or a number.",
        APP,
    )
    app_target: float = option(
        0.1, "With --app-weight auto: norm of APP's gradient at the logits, relative to that of the main loss.", APP
    )
    app_lr: float = option(1e-3, "Learning rate of the autoencoder.", APP)
    app_schedule: str = option("constant", "Schedule of the autoencoder's learning rate: constant, cosine.", APP)
    app_loss: str = option("mse", "APP's loss: mse (the paper), ce (the released code).", APP)
    app_width: int = option(15360, "Width of the autoencoder's widest layer.", APP)
    app_rows: float = option(0.25, "Share of a batch's rows from which APP's loss is estimated.", APP)
    app_released: bool = option(
        False, "APP as released: cross-entropy over all class maps and rows, with the weight of the main loss.", APP
    )
    overlap: float = option(OVERLAP, "Overlap of neighbouring tiles in whole-field prediction, 0 to below 1.", ITEMS)

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, "tile", "app_target", "app_lr", "app_width", "encoder_lr")
        check_not_negative(self, "rotate", "overlap", "head_weight", "min_tiles")
        if self.sample not in SAMPLES:
            raise UserError(f"sample={self.sample!r} is unknown; it may be {' or '.join(SAMPLES)}.")
        if not 0 <= self.crowd <= 1:
            raise UserError(f"crowd={self.crowd:g}: give a share of the tiles, from 0 to 1.")
        if self.crowd and self.head == "mask":
            raise UserError("`crowd` needs the ids of nuclei, which only head=distance and head=flow read.")
        if self.overlap >= 1:
            raise UserError(f"overlap={self.overlap:g}: give a share of a tile, at least 0 and below 1.")
        if self.app_released and self.app == "none":
            raise UserError("`app_released` needs app=relu (as released) or app=gelu.")
