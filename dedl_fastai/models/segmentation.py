"""Segmentation models from segmentation-models-pytorch, as the paper sets them up."""

from dataclasses import asdict, dataclass
from typing import Any

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.base.modules import SCSEModule
from torch import nn

from ..errors import UserError
from .names import (
    ATTENTIONS,
    WEIGHTS,
    WITH_ATTENTION,
    WITH_DECODER_CHANNELS,
    EncoderChoice,
    arch_name,
    choose_encoder,
    has_fixed_size,
)
from .weights import load_encoder_weights, pretrained_errors, quicken_statistics

_DECODER_CHANNELS = (256, 128, 64, 32, 16)
_DECODER_STRIDE = {"fpn": 3, "pspnet": 0}  # halvings that the decoder undoes by itself
_DOES_NOT_RUN = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, KeyError, IndexError)


@dataclass(frozen=True)
class SegSpec:
    """Everything that fixes a segmentation network's shape; stored in model.json.

    The paper's (its 4.2, 7.5): depth 3, decoder widths 256, 128, 64, squeeze-and-excitation in the decoder. Its text
    says channel attention ("se"), the released code uses smp's spatial and channel attention ("scse").
    """

    arch: str = "unet"
    encoder: str = "resnet34"
    depth: int = 3
    decoder_channels: tuple[int, ...] = ()  # default: the first `depth` of 256, 128, 64, 32, 16
    attention: str = "se"  # none, se, scse
    in_channels: int = 1
    classes: int = 2

    def __post_init__(self):
        object.__setattr__(self, "arch", arch_name(self.arch))
        if not 1 <= self.depth <= 5:
            raise UserError(f"depth={self.depth}: an encoder has 1 to 5 stages.")
        channels = tuple(self.decoder_channels) or _DECODER_CHANNELS[: self.depth]
        object.__setattr__(self, "decoder_channels", channels)
        self._check()

    def _check(self) -> None:
        if self.attention not in ATTENTIONS:
            raise UserError(f"decoder_attention={self.attention!r} is unknown; it may be {', '.join(ATTENTIONS)}.")
        if len(self.decoder_channels) != self.depth:
            raise UserError(f"decoder={self.decoder_channels}: {self.depth} widths are needed for depth {self.depth}.")
        if self.attention != "none" and self.arch in WITH_ATTENTION and min(self.decoder_channels) < 16:
            raise UserError(
                f"decoder={','.join(map(str, self.decoder_channels))} is too narrow for attention, which keeps 1/16 "
                f"of the channels: use at least 16, or decoder_attention=none."
            )

    @property
    def stride(self) -> int:
        """What the edge of a tile must be a multiple of."""
        return 2**self.depth

    def to_dict(self) -> dict[str, Any]:
        """For model.json."""
        return {**asdict(self), "decoder_channels": list(self.decoder_channels)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "SegSpec":
        """From model.json."""
        return cls(**{**value, "decoder_channels": tuple(value["decoder_channels"])})


def check_tile(tile: int, spec: SegSpec) -> None:
    """Raise a `UserError` if the network cannot take tiles of this edge, with the nearest edges it takes."""
    if tile < spec.stride or tile % spec.stride:
        lower = max(tile // spec.stride, 1) * spec.stride
        raise UserError(
            f"tile={tile} is not divisible by {spec.stride}, which depth {spec.depth} needs: "
            f"use {lower} or {lower + spec.stride}."
        )


def create_seg_model(spec: SegSpec, weights: str = "none", tile: int = 480) -> nn.Module:
    """Build the network: (B, in_channels, tile, tile) -> logits (B, classes, tile, tile).

    `weights`: "none", "imagenet", "advprop", "noisy-student", or the path of a file. Encoder stages deeper than `depth`
    are removed: smp keeps them though they have no effect (9 of 10 parameters of ResNet-101 at depth 3).
    Raises `UserError` for combinations that do not run, and for weights that cannot be had.
    """
    check_tile(tile, spec)
    published = weights in WEIGHTS
    choice = choose_encoder(spec.encoder, weights if published else "none")
    unused, removable = _unused_modules(spec, EncoderChoice(choice.smp_name, None), tile)
    with pretrained_errors(choice):
        model = _build(spec, choice, tile)
    if removable:
        _remove(model, unused)
    else:
        for name in unused:
            model.get_submodule(name).requires_grad_(False)
    if not published:
        load_encoder_weights(model, weights)
    if weights == "none":
        quicken_statistics(model)
    return model


class Removed(nn.Module):
    """Stands where a module without effect was: hands its input on (smp's EfficientNet runs blocks it then drops)."""

    def forward(self, x: torch.Tensor, *_) -> torch.Tensor:
        """`x` itself."""
        return x


def _remove(model: nn.Module, names: list[str]) -> None:
    for name in names:
        model.set_submodule(name, Removed())


def _build(spec: SegSpec, choice: EncoderChoice, tile: int) -> nn.Module:
    options: dict[str, Any] = {"img_size": tile} if has_fixed_size(choice.smp_name) else {}
    if spec.arch in WITH_DECODER_CHANNELS:
        options["decoder_channels"] = spec.decoder_channels
    if spec.arch in _DECODER_STRIDE:  # smp upsamples by the same factor whatever the depth
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
    """Squeeze and excitation (Hu et al. 2018): one weight a channel, from its mean over the tile."""

    def __init__(self, squeeze: nn.Module):
        super().__init__()
        self.squeeze = squeeze

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the same shape."""
        return x * self.squeeze(x)


def _keep_channel_attention(model: nn.Module) -> None:
    """Replace smp's scSE modules by their channel half."""
    for name, module in list(model.named_modules()):
        if isinstance(module, SCSEModule):
            model.set_submodule(name, ChannelAttention(module.cSE))


def _unused_modules(spec: SegSpec, choice: EncoderChoice, tile: int) -> tuple[list[str], bool]:
    """Names of modules whose parameters take no part in the output, and whether the network runs without them.

    Found without computing (on the meta device). Raises `UserError` if the network does not run at all.
    """
    try:
        model = _on_meta(spec, choice, tile)
        logits = _run_on_meta(model, spec, tile)
        logits.sum().backward()
        if logits.shape[-2:] != (tile, tile):
            raise ValueError(f"it makes masks of {logits.shape[-1]} px")
    except _DOES_NOT_RUN as e:
        reason = str(e).strip().split("\n")[0] or type(e).__name__
        raise UserError(
            f"{spec.arch} with {spec.encoder}, depth {spec.depth} and tiles of {tile} px does not run: {reason}"
        ) from e
    unused = list(_roots_of_unused(model, ""))
    _remove(model, unused)
    try:
        _run_on_meta(model, spec, tile)
    except _DOES_NOT_RUN:  # HRNet computes with what it then drops
        return unused, False
    return unused, True


def _on_meta(spec: SegSpec, choice: EncoderChoice, tile: int) -> nn.Module:
    try:
        with torch.device("meta"):
            model = _build(spec, choice, tile)
    except RuntimeError:  # smp's mit_b* need numbers while they are built
        model = _build(spec, choice, tile)
    return model.to("meta").eval()  # smp makes the first convolution on the CPU anyway


def _run_on_meta(model: nn.Module, spec: SegSpec, tile: int) -> torch.Tensor:
    with torch.device("meta"):
        return model(torch.empty(1, spec.in_channels, tile, tile))


def _roots_of_unused(module: nn.Module, prefix: str):
    for name, child in module.named_children():
        grads = [p.grad is not None for p in child.parameters()]
        if grads and not any(grads):
            yield prefix + name
        elif not all(grads):
            yield from _roots_of_unused(child, f"{prefix}{name}.")
