"""Short names (aliases) of timm's classification models: those of the paper's table 4, and a few more."""

import re
from dataclasses import dataclass

import timm

from .names import timm_name, timm_weights, unknown_name

_IN21K = "augreg_in21k_ft_in1k"


@dataclass(frozen=True)
class PaperModel:
    """timm's name of a model, and timm's tags of its published weights ("": none were published)."""

    model: str
    imagenet: str
    advprop: str = ""
    noisy_student: str = ""
    size: int = 384  # edge to which the paper resizes every image, in pixels


# The 29 models of table 4; table 13 repeats the EfficientNets. The tags are those that timm's names referred to when
# the paper was written (timm 0.6).
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
# CoAtNet is in the released code but in no table; the others are newer than the paper.
MORE_MODELS: dict[str, PaperModel] = {
    "CoAtNet": PaperModel("coatnet_rmlp_2_rw_384", "sw_in12k_ft_in1k"),
    "ConvNeXtV2-tiny": PaperModel("convnextv2_tiny", "fcmae_ft_in22k_in1k_384"),
    "ConvNeXtV2-base": PaperModel("convnextv2_base", "fcmae_ft_in22k_in1k_384"),
    **{f"EfficientNet-lite{n}": PaperModel(f"tf_efficientnet_lite{n}", "in1k") for n in range(5)},
    "DINOv2-small": PaperModel("vit_small_patch14_dinov2", "lvd142m", size=392),  # 14 px patches
    "DINOv3-small": PaperModel("vit_small_patch16_dinov3", "lvd1689m"),
}


def _short(name: str) -> str:
    """The name without case, punctuation and the words that all Swin Transformers of the paper share."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return plain.replace("transformer", "").replace("patch4window12", "")


_BY_SHORT_NAME = {_short(name): row for name, row in (PAPER_MODELS | MORE_MODELS).items()}
_BY_TIMM_NAME = {row.model: row for row in _BY_SHORT_NAME.values()}
_SUGGESTED = [re.sub(r" transformer| \(.*", "", n.lower()).replace(" ", "-") for n in PAPER_MODELS | MORE_MODELS]


def clf_model_name(name: str) -> str:
    """Return timm's name of a model, from the paper's spelling ("Resnet-18", "swin-base") or timm's, tag included.

    A name that is exactly timm's means timm's model: "nfnet-f0" is the paper's, "nfnet_f0" is timm's without weights.
    Raises `UserError` for an unknown name, with the nearest ones.
    """
    plain = name.strip().lower()
    if timm.is_model(plain.partition(".")[0]):
        return timm_name(plain, "model", "")
    if row := _BY_SHORT_NAME.get(_short(name)):
        return row.model
    return unknown_name("model", name, [*_SUGGESTED, *timm.list_models()])


def pretrained_name(model: str, weights: str) -> str:
    """Return timm's name with the tag of the requested weights, or timm's default tag if the tables above have none.

    For "none" and "packaged", of which timm downloads nothing, it is the name as it is.
    """
    if weights in ("none", "packaged"):
        return model
    row = _BY_TIMM_NAME.get(model)
    if row is None:
        return timm_weights(model, weights, "")
    tag = getattr(row, weights.replace("-", "_"))
    return f"{model}.{tag}" if tag else timm_weights(model, weights, "")
