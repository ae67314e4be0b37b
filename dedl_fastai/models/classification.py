"""Classification networks from timm: their specification, construction and weights; their head and body."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, cast

import timm
import torch
from torch import nn

from ..errors import UserError
from .dry_run import DOES_NOT_RUN, first_line, run_on_meta
from .measurements import JoinedModel
from .names import WEIGHTS, EncoderChoice, timm_has_fixed_size
from .packaged import packaged_tensors
from .paper_models import clf_model_name, pretrained_name
from .weights import pretrained_errors, quicken_statistics, read_weights_option

log = logging.getLogger(__name__)

_BODY = "picture."  # beginning of the names of the tensors of the network in a `JoinedModel`


@dataclass(frozen=True)
class ClfSpec:
    """Everything that determines the shape of a classification network; stored in model.json."""

    model: str = "resnet18"
    size: int = 384  # edge of the square input, in pixels
    in_channels: int = 3
    classes: int = 5
    drop: float = 0.0  # dropout before the last layer
    measurements: int = 0  # of a cell, that join the features of its picture before the head

    def __post_init__(self):
        object.__setattr__(self, "model", clf_model_name(self.model))
        if self.size < 1 or self.in_channels < 1 or self.classes < 1:
            raise UserError(
                f"a model needs at least one channel ({self.in_channels} given), one class ({self.classes} given) and "
                f"one pixel (size={self.size})."
            )
        if not 0 <= self.drop < 1:
            raise UserError(f"drop={self.drop} must be at least 0 and less than 1.")

    def to_dict(self) -> dict[str, Any]:
        """Return the values for model.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "ClfSpec":
        """Create a specification from the values in model.json."""
        return cls(**value)


def create_clf_model(spec: ClfSpec, weights: str = "imagenet") -> nn.Module:
    """Build the network: (B, in_channels, size, size) -> logits (B, classes); with measurements, a `JoinedModel`.

    `weights`: "none", "imagenet", "advprop", "noisy-student", "packaged", or the path of a file. Published weights are
    loaded without their head (unless there are 1000 classes, ImageNet's), and their first convolution is adapted to the
    channels. Raises `UserError` for sizes that do not run, and for unavailable weights.
    """
    check_size(spec)
    if spec.measurements:
        return _joined(create_clf_model(replace(spec, measurements=0), weights), spec)
    if weights == "packaged":
        return _with_tensors(spec, packaged_tensors(spec.model), "packaged weights")
    if weights not in WEIGHTS:
        return _with_tensors(spec, _of_body(read_weights_option(weights)), weights)
    name = pretrained_name(spec.model, weights)
    with pretrained_errors(EncoderChoice(f"tu-{name}", None if weights == "none" else True)):
        model = _build(spec, name, pretrained=weights != "none")
    if weights == "none":
        quicken_statistics(model)
    return model


def rebuild_clf_model(spec: ClfSpec, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """Build the network that these tensors were saved from, and load them.

    Raises `RuntimeError` if they are of another network.
    """
    model = _build(spec, spec.model)
    if spec.measurements:
        model = _joined(model, spec)
    model.load_state_dict(tensors)
    return model


def _joined(model: nn.Module, spec: ClfSpec) -> JoinedModel:
    """The network without its head, in a `JoinedModel`."""
    cast(Any, model).reset_classifier(0)  # a method of every model in timm
    is_training = model.training
    with torch.no_grad():
        width = model.eval()(torch.zeros(1, spec.in_channels, spec.size, spec.size)).shape[1]
    joined = JoinedModel(model, width, measurements=spec.measurements, classes=spec.classes, drop=spec.drop)
    return joined.train(is_training)


def _of_body(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the network in a `JoinedModel`; those of others as they are."""
    own = {name.removeprefix(_BODY): t for name, t in tensors.items() if name.startswith(_BODY)}
    return own or tensors


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of the last layer or layers, which turn features into logits."""
    return [p for module in _heads(model) for p in module.parameters()]


def body_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return all parameters except those of the head."""
    head = {id(p) for p in head_parameters(model)}
    return [p for p in model.parameters() if id(p) not in head]


def _heads(model: nn.Module) -> tuple[nn.Module, ...]:
    head = cast(Any, model).get_classifier()  # a method of every model in timm
    return head if isinstance(head, tuple) else (head,)  # distilled models have two


@lru_cache(maxsize=64)  # a run builds its network once for each file of weights
def check_size(spec: ClfSpec) -> None:
    """Raise a `UserError` if the network does not run at this size; nothing is computed (meta device)."""
    try:
        with torch.device("meta"):
            model = _build(spec, spec.model).to("meta").eval()
        _check_patch(model, spec)
        logits = run_on_meta(model, 1, spec.in_channels, spec.size, spec.size)
        if logits.shape != (1, spec.classes):
            raise ValueError(f"it returns {tuple(logits.shape)} for one image, not {spec.classes} logits")
    except UserError:
        raise
    except DOES_NOT_RUN as e:
        reason = first_line(e) or type(e).__name__
        raise UserError(f"{spec.model} with images of {spec.size} px does not run: {reason}") from e


def _check_patch(model: nn.Module, spec: ClfSpec) -> None:
    """Raise a `UserError` if the image is not a whole number of patches: a transformer would drop the rest."""
    edge = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    edge = edge[0] if isinstance(edge, tuple) else edge
    if spec.size % edge:
        lower = max(spec.size // edge, 1) * edge
        raise UserError(
            f"size={spec.size} is not divisible by {edge}, the patch size of {spec.model}: "
            f"use {lower} or {lower + edge}."
        )


def _build(spec: ClfSpec, name: str, pretrained: bool = False, overlay: dict[str, Any] | None = None) -> nn.Module:
    return timm.create_model(
        name,
        pretrained=pretrained,
        pretrained_cfg_overlay=overlay,
        num_classes=spec.classes,
        in_chans=spec.in_channels,
        drop_rate=spec.drop,
        img_size=spec.size if timm_has_fixed_size(spec.model) else None,
    )


def _with_tensors(spec: ClfSpec, tensors: dict[str, torch.Tensor], source: str) -> nn.Module:
    """Build the network with these tensors; a head for other classes keeps its initial weights."""
    model = _build(spec, spec.model)
    own = model.state_dict()
    head = {n for m in _heads(model) for n, p in model.named_parameters() if any(p is q for q in m.parameters())}
    fitting = {k: v for k, v in tensors.items() if k in own and v.shape == own[k].shape}
    body = own.keys() - head
    if body <= fitting.keys():
        log.info("%s: loaded %s the head", source, "with" if head <= fitting.keys() else "without")
        model.load_state_dict(fitting, strict=False)
        return model
    n_known = len(body & tensors.keys())
    if n_known < len(body) / 2:
        raise UserError(
            f"{source} has {n_known} of the {len(body)} tensors of {spec.model}: it belongs to another network."
        )
    # timm adapts the position embeddings to another size, and the first convolution to other channels
    has_head = head <= fitting.keys()
    overlay = {"state_dict": tensors, "num_classes": spec.classes if has_head else -1, "label_offset": 0}
    try:
        return _build(spec, spec.model, pretrained=True, overlay=overlay)
    except DOES_NOT_RUN as e:
        raise UserError(f"{source} does not fit {spec.model} at {spec.size} px: {first_line(e)}") from e
