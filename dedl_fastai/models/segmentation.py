"""Segmentation networks from segmentation-models-pytorch (smp), with the paper's settings as defaults."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.base.modules import SCSEModule
from torch import nn

from ..errors import UserError
from .dry_run import DOES_NOT_RUN, first_line
from .heads import add_maps
from .names import (
    ATTENTIONS,
    HEADS,
    NUCLEI,
    NUCLEI_RUN,
    WEIGHTS,
    WITH_ATTENTION,
    WITH_DECODER_CHANNELS,
    EncoderChoice,
    arch_name,
    choose_encoder,
    has_fixed_size,
)
from .packaged import packaged_tensors, resolved_weights
from .pruning import freeze, modules_without, remove, unused_modules
from .weights import load_encoder_tensors, load_encoder_weights, pretrained_errors, quicken_statistics

_DECODER_CHANNELS = (256, 128, 64, 32, 16)
_DECODER_STRIDE = {"fpn": 3, "pspnet": 0}  # halvings of the size that the decoder itself reverses


@dataclass(frozen=True)
class SegSpec:
    """Everything that determines the shape of a segmentation network; stored in model.json.

    The defaults are the paper's (4.2, 7.5): depth 3, decoder widths 256, 128, 64, squeeze and excitation in the
    decoder. The paper describes channel attention ("se"); the released code uses smp's spatial and channel attention
    ("scse").
    """

    arch: str = "unet"
    encoder: str = "resnet34"
    depth: int = 3
    decoder_channels: tuple[int, ...] = ()  # default: the first `depth` of 256, 128, 64, 32, 16
    attention: str = "se"  # none, se, scse
    in_channels: int = 1
    classes: int = 2
    head: str = "mask"  # mask, or maps beside it: distance, flow

    def __post_init__(self):
        object.__setattr__(self, "arch", arch_name(self.arch))
        if not 1 <= self.depth <= 5:
            raise UserError(f"depth={self.depth} is not possible: an encoder has 1 to 5 stages.")
        channels = tuple(self.decoder_channels) or _DECODER_CHANNELS[: self.depth]
        object.__setattr__(self, "decoder_channels", channels)
        self._check()

    def _check(self) -> None:
        if self.head not in HEADS:
            raise UserError(f"head={self.head!r} is unknown; it may be {', '.join(HEADS)}.")
        if self.attention not in ATTENTIONS:
            raise UserError(f"decoder_attention={self.attention!r} is unknown; it may be {', '.join(ATTENTIONS)}.")
        if len(self.decoder_channels) != self.depth:
            raise UserError(
                f"decoder={self.decoder_channels} does not fit depth {self.depth}: {self.depth} widths are needed."
            )
        if self.attention != "none" and self.arch in WITH_ATTENTION and min(self.decoder_channels) < 16:
            raise UserError(
                f"decoder={','.join(map(str, self.decoder_channels))} is too narrow for attention, which keeps 1/16 "
                f"of the channels: use widths of at least 16, or decoder_attention=none."
            )

    @property
    def stride(self) -> int:
        """The number of pixels that the edge of a tile must be a multiple of."""
        return 2**self.depth

    def to_dict(self) -> dict[str, Any]:
        """Return the values for model.json."""
        return {**asdict(self), "decoder_channels": list(self.decoder_channels)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "SegSpec":
        """Create a specification from the values in model.json."""
        return cls(**{**value, "decoder_channels": tuple(value["decoder_channels"])})


def check_tile(tile: int, spec: SegSpec) -> None:
    """Raise a `UserError` if the network cannot take tiles of this edge, with the nearest possible edges."""
    if tile < spec.stride or tile % spec.stride:
        lower = max(tile // spec.stride, 1) * spec.stride
        raise UserError(
            f"tile={tile} is not divisible by {spec.stride}, as depth {spec.depth} requires: "
            f"use {lower} or {lower + spec.stride}."
        )


def create_seg_model(spec: SegSpec, weights: str = "none", tile: int = 480) -> nn.Module:
    """Build the network: (B, in_channels, tile, tile) -> logits (B, classes + maps of the head, tile, tile).

    `weights`: "none", "imagenet", "advprop", "noisy-student", "packaged", "auto" (packaged where they are installed for
    the encoder, else none), "nuclei" (the model that comes with the package), or the path of a file or run. Encoder
    stages deeper than `depth` are removed: smp keeps them although they have no effect (9 of 10 parameters of
    ResNet-101 at depth 3).
    Raises `UserError` for combinations that do not run, and for unavailable weights.
    """
    check_tile(tile, spec)
    weights = resolved_weights(weights, spec.encoder)
    published = weights in WEIGHTS
    choice = choose_encoder(spec.encoder, weights if published else "none")
    packaged = packaged_tensors(choice.smp_name) if weights == "packaged" else None
    unused, are_removable = _unused_modules(spec, EncoderChoice(choice.smp_name, None), tile)
    with pretrained_errors(choice):
        model = _build(spec, choice, tile)
    if are_removable:
        remove(model, unused)
    else:
        freeze(model, unused)
    if spec.head != "mask":
        add_maps(model, HEADS[spec.head])
    if packaged is not None:
        load_encoder_tensors(model, packaged, "packaged weights")
    elif not published:
        load_encoder_weights(model, NUCLEI_RUN if weights == NUCLEI else weights)
    if weights == "none":
        quicken_statistics(model)
    return model


def rebuild_seg_model(spec: SegSpec, tensors: Mapping[str, torch.Tensor], tile: int) -> nn.Module:
    """Build the network that these tensors were saved from, and load them; modules that they lack are removed.

    Quicker than `create_seg_model`, as nothing has to be tried. Raises `RuntimeError` if they are of another network.
    """
    model = _build(spec, choose_encoder(spec.encoder, "none"), tile)
    if spec.head != "mask":
        add_maps(model, HEADS[spec.head])
    remove(model, modules_without(model, tensors))
    model.load_state_dict(tensors)
    return model


def _build(spec: SegSpec, choice: EncoderChoice, tile: int) -> nn.Module:
    options: dict[str, Any] = {"img_size": tile} if has_fixed_size(choice.smp_name) else {}
    if spec.arch in WITH_DECODER_CHANNELS:
        options["decoder_channels"] = spec.decoder_channels
    if spec.arch in _DECODER_STRIDE:  # smp upsamples by the same factor at every depth
        options["upsampling"] = 2 ** max(spec.depth - _DECODER_STRIDE[spec.arch], 0)
    if spec.arch in WITH_ATTENTION:
        options["decoder_attention_type"] = None if spec.attention == "none" else "scse"
    model = smp.create_model(
        spec.arch,
        encoder_name=choice.smp_name,
        encoder_weights=choice.smp_weights,
        encoder_depth=spec.depth,
        in_channels=spec.in_channels,
        classes=spec.classes,
        **options,
    )
    if spec.attention == "se" and spec.arch in WITH_ATTENTION:
        _keep_channel_attention(model)
    return model


class ChannelAttention(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): one weight per channel, from the channel's mean over the tile."""

    def __init__(self, squeeze: nn.Module):
        super().__init__()
        self.squeeze = squeeze

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` (B, C, H, W) times the weights of its channels."""
        return x * self.squeeze(x)


def _keep_channel_attention(model: nn.Module) -> None:
    """Replace smp's scSE modules by their channel attention."""
    for name, module in list(model.named_modules()):
        if isinstance(module, SCSEModule):
            model.set_submodule(name, ChannelAttention(module.cSE))


@lru_cache(maxsize=64)  # training, evaluation and prediction build the same network
def _unused_modules(spec: SegSpec, choice: EncoderChoice, tile: int) -> tuple[list[str], bool]:
    """Names of modules without effect, and whether they can be removed; `UserError` if the network does not run."""
    try:
        return unused_modules(lambda: _build(spec, choice, tile), spec.in_channels, tile)
    except DOES_NOT_RUN as e:
        reason = first_line(e) or type(e).__name__
        raise UserError(
            f"{spec.arch} with {spec.encoder}, depth {spec.depth} and tiles of {tile} px does not run: {reason}"
        ) from e
