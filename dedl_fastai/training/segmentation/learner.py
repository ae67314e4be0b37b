"""`seg_learner`: a fastai Learner for segmentation, with the paper's settings as defaults."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from segmentation_models_pytorch.base import SegmentationModel
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ...data.options import SEED
from ...data.segmentation.facts import SegFacts
from ...data.segmentation.loader_facts import facts_of_loaders
from ...errors import UserError
from ...models.segmentation import SegSpec, create_seg_model
from ..callbacks import KeepBatchStats, seed_callbacks
from ..learner import FieldLearner, optimizer
from ..precision import precision_callbacks
from .head import HeadCallback
from .losses import seg_loss
from .metrics import TileDice, TileIoU, TunedIoU

_IMAGES = [(turns, flip) for turns in (0, 2, 1, 3) for flip in (False, True)]  # flips first, then quarter turns


class SegLearner(FieldLearner):
    """A `FieldLearner` of segmentation, whose test-time augmentation turns the predictions back."""

    def tta(self, ds_idx: int = 1, dl: DataLoader | None = None, n: int = 4, use_max: bool = False) -> tuple:
        """Predictions averaged over `n` images of each tile (4: flips, 8: with quarter turns), and the targets.

        Each prediction is turned back before the mean (or the maximum) is taken; fastai's own `tta` does not do that.
        """
        if not 1 <= n <= len(_IMAGES):
            raise UserError(f"n={n}: there are 1 to {len(_IMAGES)} mirror images and quarter turns of a tile.")
        found = [self.get_preds(ds_idx, dl, cbs=TurnedBack(*image)) for image in _IMAGES[:n]]
        preds = torch.stack([preds for preds, _ in found])
        return preds.max(dim=0).values if use_max else preds.mean(dim=0), found[0][1]


class TurnedBack(Callback):
    """Shows the model a mirror image of each tile, and turns its prediction back."""

    order = 8  # before the prediction is cast or gathered

    def __init__(self, turns: int, flip: bool):
        self.turns, self.flip = turns, flip

    def before_batch(self) -> None:
        """Flip and turn the tiles."""
        self.learn.xb = tuple(torch.rot90(x.flip(-1) if self.flip else x, self.turns, (-2, -1)) for x in self.xb)

    def after_pred(self) -> None:
        """Turn and flip the prediction back."""
        pred = torch.rot90(self.pred, -self.turns, (-2, -1))
        self.learn.pred = pred.flip(-1) if self.flip else pred


def seg_learner(
    dls: DataLoaders,  # from `seg_dataloaders`, or any loaders of images (B, C, H, W) and masks (B, H, W)
    arch: str = "unet",
    encoder: str = "resnet34",
    weights: str = "imagenet",  # none, imagenet, advprop, noisy-student, packaged, auto, nuclei, a file or a run
    depth: int = 3,
    decoder_channels: Sequence[int] = (),  # default: 256, 128, 64 for depth 3
    attention: str = "se",  # in the decoder: none, se (the paper), scse (the released code)
    loss: str | Callable = "weighted-ce",  # a name, or a loss of logits and masks
    opt: str = "adam",  # adam with L2 (the paper), adamw
    wd: float = 1e-5,
    amp: str = "no",  # no, fp16, bf16, auto: the fastest of the device
    accumulate: int = 1,  # batches whose gradients are added up for one step
    clip: float = 0.0,  # largest gradient norm; 0: no limit
    head: str = "mask",  # maps beside the mask that tell nuclei apart: mask (none, the paper's), distance, flow
    head_weight: float = 1.0,  # of the maps' loss beside the main one
    keep_stats: bool = False,  # batch normalisation keeps the statistics of the weights: see `KeepBatchStats`
    encoder_lr: float = 1.0,  # the encoder's learning rate, as a share of the decoder's
    app: str | Callback = "none",  # the paper's autoencoder post-processing: none, gelu, relu, or an `AppCallback`
    seed: int | None = SEED,  # of the initial weights and of each epoch (`EpochSeed`); None: nothing is seeded
    cbs: Sequence[Callback] = (),
    path: str | Path = ".",
    facts: SegFacts | None = None,  # what the model must know of the data; default: those of `dls`, else measured
) -> SegLearner:
    """Create a Learner for tiles of fields, with the model, loss, optimiser and metrics of the paper by default.

    Raises `UserError` for unknown names, for tiles that the network cannot take, and for unavailable weights.
    """
    dls.facts = facts = facts or getattr(dls, "facts", None) or facts_of_loaders(dls)
    spec = SegSpec(
        arch,
        encoder,
        depth=depth,
        decoder_channels=tuple(decoder_channels),
        attention=attention,
        in_channels=len(facts.channels),
        classes=len(facts.classes),
        head=head,
    )
    seeded = seed_callbacks(seed)
    model = create_seg_model(spec, weights, facts.tile)
    if torch.device(dls.device or "cpu").type == "cpu":  # a fifth faster for EfficientNet
        model = model.to(memory_format=torch.channels_last)
    if head != "mask":
        cbs = [*cbs, HeadCallback(spec.classes, head_weight)]
    if keep_stats:
        cbs = [*cbs, KeepBatchStats()]
    if app != "none":
        cbs = [*cbs, _app_callback(app)]
    loss_func = seg_loss(loss, facts.class_weights) if isinstance(loss, str) else loss
    learn = SegLearner(
        dls,
        model,
        loss_func=loss_func,
        opt_func=optimizer(opt, wd),
        splitter=encoder_and_decoder,
        metrics=[TileIoU(), TileDice(), TunedIoU()],
        cbs=[
            *seeded,
            *precision_callbacks(amp, accumulate * dls.train.bs if accumulate > 1 else 0, clip, dls.device or "cpu"),
            *cbs,
        ],
        path=path,
    )
    learn.spec, learn.group_factors = spec, (encoder_lr, 1.0)
    return learn


def encoder_and_decoder(model: SegmentationModel | DistributedDataParallel) -> list[list[nn.Parameter]]:
    """Splitter: the parameters of the encoder, and all others; `freeze` leaves the latter trainable."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    encoder = {id(p) for p in inner.encoder.parameters()}
    groups: list[list[nn.Parameter]] = [[], []]
    for parameter in model.parameters():
        groups[id(parameter) not in encoder].append(parameter)
    return groups


def _app_callback(app: str | Callback) -> Callback:
    if isinstance(app, Callback):
        return app
    from .app import AppCallback  # prediction does not need it

    return AppCallback(app)
