"""Classification models from timm: the paper's by their names in its tables, and any other by timm's name."""

import logging
import re
from dataclasses import asdict, dataclass
from typing import Any

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from ..errors import UserError
from .names import WEIGHTS, EncoderChoice, timm_has_fixed_size, timm_name, timm_weights, unknown_name
from .weights import pretrained_errors, quicken_statistics, read_weights_option

log = logging.getLogger(__name__)

_DOES_NOT_RUN = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, KeyError, IndexError)
_IN21K = "augreg_in21k_ft_in1k"


@dataclass(frozen=True)
class PaperModel:
    """A row of the paper's tables as timm builds it, and the tags of its published weights ("": there are none)."""

    model: str
    imagenet: str
    advprop: str = ""
    noisy_student: str = ""
    size: int = 384  # the paper resizes every image to it


# Its table 4 (13: the EfficientNets again). The tags are what timm's names meant when the paper was written (0.6).
PAPER_MODELS: dict[str, PaperModel] = {
    "Resnet-18": PaperModel("resnet18", "tv_in1k"),
    "Resnet-34": PaperModel("resnet34", "bt_in1k"),
    "Resnet-50": PaperModel("resnet50", "a1_in1k"),
    "Resnet-101": PaperModel("resnet101", "a1h_in1k"),
    **{
        f"Efficient-net B{n}": PaperModel(f"tf_efficientnet_b{n}", "aa_in1k", "ap_in1k", "ns_jft_in1k")
        for n in range(8)
    },
    **{f"nfnet-f{n}": PaperModel(f"dm_nfnet_f{n}", "dm_in1k") for n in range(7)},  # timm's nfnet_f* have no weights
    **{f"ConvNext-{s}": PaperModel(f"convnext_{s}", "fb_in1k") for s in ("tiny", "small", "base", "large")},
    **{
        f"Swin Transformer {s} (Patch 4 Window 12)": PaperModel(
            f"swin_{s.lower()}_patch4_window12_384", "ms_in22k_ft_in1k"
        )
        for s in ("large", "Base")
    },
    "Vit-Base/16": PaperModel("vit_base_patch16_384", _IN21K),
    "Vit-Base/32": PaperModel("vit_base_patch32_384", _IN21K),
    "Vit-large/16": PaperModel("vit_large_patch16_384", _IN21K),
    "Vit-large/32": PaperModel("vit_large_patch32_384", "orig_in21k_ft_in1k"),
}
# CoAtNet is in the released code and in no table; the others are newer than the paper.
MORE_MODELS: dict[str, PaperModel] = {
    "CoAtNet": PaperModel("coatnet_rmlp_2_rw_384", "sw_in12k_ft_in1k"),
    "ConvNeXtV2-tiny": PaperModel("convnextv2_tiny", "fcmae_ft_in22k_in1k_384"),
    "ConvNeXtV2-base": PaperModel("convnextv2_base", "fcmae_ft_in22k_in1k_384"),
    "DINOv2-small": PaperModel("vit_small_patch14_dinov2", "lvd142m", size=392),  # 14 px patches
    "DINOv3-small": PaperModel("vit_small_patch16_dinov3", "lvd1689m"),
}


def _short(name: str) -> str:
    """What is left of a name without case, punctuation, and what all Swin Transformers of the paper share."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return plain.replace("transformer", "").replace("patch4window12", "")


_BY_SHORT = {_short(name): row for name, row in (PAPER_MODELS | MORE_MODELS).items()}
_SHOWN = [re.sub(r" transformer| \(.*", "", n.lower()).replace(" ", "-") for n in PAPER_MODELS | MORE_MODELS]
_BY_TIMM = {row.model: row for row in _BY_SHORT.values()}


def clf_model_name(name: str) -> str:
    """timm's name of a model: the paper's spellings ("Resnet-18", "swin-base"), or timm's own, with a tag or without.

    What is exactly timm's name means timm's model: "nfnet-f0" is the paper's, "nfnet_f0" timm's without weights.
    Raises `UserError` for an unknown one, with the nearest names.
    """
    plain = name.strip().lower()
    if timm.is_model(plain.partition(".")[0]):
        return timm_name(plain, "model", "")
    if row := _BY_SHORT.get(_short(name)):
        return row.model
    return unknown_name("model", name, [*_SHOWN, *timm.list_models()])


@dataclass(frozen=True)
class ClfSpec:
    """Everything that fixes a classification network's shape; stored in model.json."""

    model: str = "resnet18"
    size: int = 384  # edge of the square input, in pixels
    in_channels: int = 3
    classes: int = 5
    drop: float = 0.0  # dropout before the last layer

    def __post_init__(self):
        object.__setattr__(self, "model", clf_model_name(self.model))
        if self.size < 1 or self.in_channels < 1 or self.classes < 1:
            raise UserError(
                f"a model needs channels ({self.in_channels}), classes ({self.classes}) and size={self.size}."
            )
        if not 0 <= self.drop < 1:
            raise UserError(f"drop={self.drop}: a share of at least 0, below 1, is needed.")

    def to_dict(self) -> dict[str, Any]:
        """For model.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "ClfSpec":
        """From model.json."""
        return cls(**value)


def create_clf_model(spec: ClfSpec, weights: str = "imagenet") -> nn.Module:
    """Build the network: (B, in_channels, size, size) -> logits (B, classes).

    `weights`: "none", "imagenet", "advprop", "noisy-student", or the path of a file. Published weights come without
    their head, their first convolution is adapted to the channels. Raises `UserError` for sizes that do not run,
    and for weights that cannot be had.
    """
    check_size(spec)
    if weights not in WEIGHTS:
        return _with_file(spec, weights)
    name = pretrained_name(spec.model, weights)
    with pretrained_errors(EncoderChoice(f"tu-{name}", None if weights == "none" else True)):
        model = _build(spec, name, pretrained=weights != "none")
    if weights == "none":
        quicken_statistics(model)
    return model


def pretrained_name(model: str, weights: str) -> str:
    """timm's name with the tag of the weights asked for: the one pinned in the tables, or timm's default."""
    row = _BY_TIMM.get(model)
    if weights == "none" or row is None:
        return model if weights == "none" else timm_weights(model, weights, "")
    tag = getattr(row, weights.replace("-", "_"))
    return f"{model}.{tag}" if tag else timm_weights(model, weights, "")


def input_stats(spec: ClfSpec, weights: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and spread, a channel each, of the images (in 0..1) that the weights were trained on.

    For other than three channels they follow the adapted first convolution: one channel gets the mean of the three,
    more take them in turn.
    """
    published = weights in WEIGHTS and weights != "none"
    config = timm.get_pretrained_cfg(pretrained_name(spec.model, weights) if published else spec.model)
    found = (config.mean, config.std) if config else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    mean, std = ((sum(v) / 3,) if spec.in_channels == 1 else v for v in found)
    return tuple(mean[i % 3] for i in range(spec.in_channels)), tuple(std[i % 3] for i in range(spec.in_channels))


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of the last layer(s), which turn features into logits."""
    return [p for module in _heads(model) for p in module.parameters()]


def body_parameters(model: nn.Module) -> list[nn.Parameter]:
    """All parameters but the head's."""
    head = {id(p) for p in head_parameters(model)}
    return [p for p in model.parameters() if id(p) not in head]


def _heads(model: nn.Module) -> tuple[nn.Module, ...]:
    head = model.get_classifier()
    return head if isinstance(head, tuple) else (head,)  # distilled models have two


def check_size(spec: ClfSpec) -> None:
    """Raise a `UserError` if the network does not run at this size; found without computing (on the meta device)."""
    try:
        with torch.device("meta"):
            model = _build(spec, spec.model).to("meta").eval()
            _check_patch(model, spec)
            logits = model(torch.empty(1, spec.in_channels, spec.size, spec.size))
        if logits.shape != (1, spec.classes):
            raise ValueError(f"it gives {tuple(logits.shape)} for one image, not {spec.classes} logits")
    except UserError:
        raise
    except _DOES_NOT_RUN as e:
        reason = str(e).strip().split("\n")[0] or type(e).__name__
        raise UserError(f"{spec.model} with images of {spec.size} px does not run: {reason}") from e


def _check_patch(model: nn.Module, spec: ClfSpec) -> None:
    """A transformer would drop what is left over when it cuts the image into patches."""
    edge = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    edge = edge[0] if isinstance(edge, tuple) else edge
    if spec.size % edge:
        lower = max(spec.size // edge, 1) * edge
        raise UserError(
            f"size={spec.size} is not divisible by {edge}, the patch of {spec.model}: use {lower} or {lower + edge}."
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


def _with_file(spec: ClfSpec, path: str) -> nn.Module:
    """The network with a file's weights; a head of other classes stays as it was made."""
    tensors = read_weights_option(path)
    model = _build(spec, spec.model)
    own = model.state_dict()
    head = {n for m in _heads(model) for n, p in model.named_parameters() if any(p is q for q in m.parameters())}
    fits = {k: v for k, v in tensors.items() if k in own and v.shape == own[k].shape}
    body = own.keys() - head
    if body <= fits.keys():
        log.info("%s: loaded %s the head", path, "with" if head <= fits.keys() else "without")
        model.load_state_dict(fits, strict=False)
        return model
    known = len(body & tensors.keys())
    if known < len(body) / 2:
        raise UserError(f"{path} has {known} of the {len(body)} tensors of {spec.model}: it is of another network.")
    # timm fits the positions to another size, and the first convolution to other channels
    overlay = {"state_dict": tensors, "num_classes": spec.classes if head <= fits.keys() else -1, "label_offset": 0}
    try:
        return _build(spec, spec.model, True, overlay)
    except _DOES_NOT_RUN as e:
        reason = str(e).strip().split("\n")[0]
        raise UserError(f"{path} does not fit {spec.model} at {spec.size} px: {reason}") from e
