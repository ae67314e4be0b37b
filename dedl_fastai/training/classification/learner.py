"""`clf_learner`: a fastai Learner for multi-label classification."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from fastai.callback.core import Callback
from fastai.callback.training import BnFreeze
from fastai.data.core import DataLoaders
from torch import nn

from ...data.options import SEED
from ...errors import UserError
from ...models.classification import ClfSpec, body_parameters, create_clf_model, head_parameters
from ..callbacks import seed_callbacks
from ..learner import FieldLearner, optimizer
from ..options import CLF_RATES
from ..precision import precision_callbacks
from .losses import class_weights, clf_loss
from .metrics import F1Macro, F1Micro, MeanAP

log = logging.getLogger(__name__)


def clf_learner(
    dls: DataLoaders,  # from `clf_dataloaders`; `facts` has size, mean, vocab, prevalence, n_train
    model: str = "resnet18",  # a name in the paper's tables, or timm's
    weights: str = "imagenet",  # none, imagenet, advprop, noisy-student, packaged, a file or a run
    loss: str | Callable = "focal",  # focal (the paper), bce, asymmetric, or a loss of logits and labels
    class_weight: str = "inverse",  # inverse, effective, none, dedl (the released code: favours common classes)
    gamma: float = 2.0,  # of the focal loss
    opt: str = "adam",  # adam with L2 (the paper), adamw
    wd: float = 0.0,
    amp: str = "no",  # no, fp16, bf16, auto: the fastest of the device
    accumulate: int = 1,  # batches whose gradients are added up for one step
    clip: float = 0.0,  # largest gradient norm; 0: no limit
    drop: float = 0.0,  # dropout before the last layer
    freeze: bool = False,  # train the last layer only; the body's batch norm keeps its statistics
    body_lr: float = 1.0,  # the body's learning rate, as a share of the head's
    seed: int | None = SEED,  # of the initial weights and of each epoch (`EpochSeed`); None: nothing is seeded
    cbs: Sequence[Callback] = (),
    path: str | Path = ".",
) -> FieldLearner:
    """Create a Learner for images with any number of labels, with model, loss, optimiser and metrics.

    Its two parameter groups are body and head, as fastai's `freeze`, `unfreeze` and `slice` rates expect.
    Raises `UserError` for unknown names, for sizes that the network cannot take, and for unavailable weights.
    """
    if body_lr <= 0:
        raise UserError(f"body_lr={body_lr} must be greater than 0; to train the head alone, use `freeze`.")
    facts = dls.facts
    shape = {"in_channels": len(facts.mean), "classes": len(facts.vocab), "measurements": len(facts.measurements)}
    spec = ClfSpec(model, facts.size, drop=drop, **shape)
    seeded = seed_callbacks(seed)
    if isinstance(loss, str):
        loss = clf_loss(loss, class_weights(class_weight, facts.prevalence, facts.n_train), gamma)
    learn = FieldLearner(
        dls,
        create_clf_model(spec, weights),
        loss_func=loss,
        opt_func=optimizer(opt, wd),
        splitter=body_and_head,
        metrics=[F1Macro(), F1Micro(), MeanAP()],
        cbs=[
            *seeded,
            BnFreeze(),
            *precision_callbacks(amp, accumulate * dls.train.bs if accumulate > 1 else 0, clip, dls.device or "cpu"),
            *cbs,
        ],
        path=path,
        train_bn=False,  # fastai would otherwise train the batch norms of a frozen body
    )
    learn.spec, learn.group_factors, learn.paper_rates = spec, (body_lr, 1.0), CLF_RATES
    if freeze:
        if weights == "none":
            log.warning("the frozen body has no pretrained `weights`: its features are random")
        learn.freeze()
    return learn


def body_and_head(model: nn.Module) -> list[list[nn.Parameter]]:
    """Splitter: return the parameters of the body, and those of the last layer."""
    return [body_parameters(model), head_parameters(model)]
