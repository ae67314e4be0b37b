"""`seg_learner`: a fastai Learner for segmentation, with the paper's settings as defaults."""

from collections.abc import Callable, Sequence
from pathlib import Path

from fastai.callback.core import Callback
from fastai.data.core import DataLoaders

from ...models.segmentation import SegSpec, create_seg_model
from ..learner import FieldLearner, optimizer
from ..precision import precision_callbacks
from .losses import seg_loss
from .metrics import TileDice, TileIoU


def seg_learner(
    dls: DataLoaders,  # from `seg_dataloaders`
    arch: str = "unet",
    encoder: str = "resnet34",
    weights: str = "imagenet",  # none, imagenet, advprop, noisy-student, or a file
    depth: int = 3,
    decoder_channels: Sequence[int] = (),  # default: 256, 128, 64 for depth 3
    attention: str = "se",  # in the decoder: none, se (the paper), scse (the released code)
    loss: str | Callable = "weighted-ce",  # a name, or a loss of logits and masks
    opt: str = "adam",  # adam with L2 (the paper), adamw
    wd: float = 1e-5,
    amp: str = "no",  # no, fp16, bf16
    accumulate: int = 1,  # batches whose gradients are added up for one step
    clip: float = 0.0,  # largest gradient norm; 0: no limit
    app: str | Callback = "none",  # the paper's autoencoder post-processing: none, gelu, relu, or an `AppCallback`
    cbs: Sequence[Callback] = (),
    path: str | Path = ".",
) -> FieldLearner:
    """Create a Learner for tiles of fields, with the model, loss, optimiser and metrics of the paper by default.

    Raises `UserError` for unknown names, for tiles that the network cannot take, and for unavailable weights.
    """
    facts = dls.facts
    spec = SegSpec(
        arch,
        encoder,
        depth=depth,
        decoder_channels=tuple(decoder_channels),
        attention=attention,
        in_channels=len(facts.channels),
        classes=len(facts.classes),
    )
    model = create_seg_model(spec, weights, facts.tile)
    if app != "none":
        cbs = [*cbs, _app_callback(app)]
    loss_func = seg_loss(loss, facts.class_weights) if isinstance(loss, str) else loss
    learn = FieldLearner(
        dls,
        model,
        loss_func=loss_func,
        opt_func=optimizer(opt, wd),
        metrics=[TileIoU(), TileDice()],
        cbs=[*precision_callbacks(amp, accumulate * dls.train.bs if accumulate > 1 else 0, clip), *cbs],
        path=path,
    )
    learn.spec = spec
    return learn


def _app_callback(app: str | Callback) -> Callback:
    if isinstance(app, Callback):
        return app
    from .app import AppCallback  # prediction does not need it

    return AppCallback(app)
