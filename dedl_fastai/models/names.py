"""Names of architectures, encoders and published weights in the spellings of smp, timm and the paper."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..errors import UserError

ARCHS = (
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "pan",
    "deeplabv3",
    "deeplabv3plus",
    "upernet",
    "segformer",
    "dpt",
)
WITH_DECODER_CHANNELS = ("unet", "unetplusplus", "manet")
WITH_ATTENTION = ("unet", "unetplusplus")
ATTENTIONS = ("none", "se", "scse")
HEADS = {"mask": 0, "distance": 1, "flow": 2}  # what tells nuclei apart -> number of maps beside the classes
NUCLEI = "nuclei"  # the trained model that comes with the package, where a run or weights are asked for
NUCLEI_RUN = Path(__file__).parent / "nuclei"  # its run folder, without what only training needs
WEIGHTS = ("none", "imagenet", "advprop", "noisy-student", "packaged")
PAPER_ENCODERS = (
    *(f"resnet{n}" for n in (18, 34, 50, 101)),
    *(f"efficientnet-b{n}" for n in range(8)),
)
_RESNET = re.compile(r"^resnet[-_ ]?(\d+)$")
_EFFICIENTNET = re.compile(r"^(?:timm-)?efficient[-_ ]?net[-_ ]?b(\d)$")
_LITE = re.compile(r"^efficient[-_ ]?net[-_ ]?lite(\d)$")
_TIMM_TAGS = {"imagenet": "aa_in1k", "advprop": "ap_in1k", "noisy-student": "ns_jft_in1k"}


@dataclass(frozen=True)
class EncoderChoice:
    """smp's arguments for an encoder: its name, and `encoder_weights` for the requested weights."""

    smp_name: str
    smp_weights: str | bool | None


def arch_name(name: str) -> str:
    """Return our name of a decoder architecture ("U-Net++" is "unetplusplus").

    Raises `UserError` for an unknown one, with the nearest names.
    """
    plain = name.lower().replace("++", "plusplus").replace("v3+", "v3plus").replace("-", "").replace("_", "")
    return plain if plain in ARCHS else unknown_name("architecture", name, ARCHS)


def encoder_name(name: str) -> str:
    """Return smp's name of an encoder, from the paper's spelling ("ResNet-18"), smp's, or `tu-` and timm's name.

    Raises `UserError` for an unknown one, with the nearest names.
    """
    plain = name.strip()
    if plain.startswith("tu-"):
        return f"tu-{timm_name(plain[3:])}"
    plain = plain.lower()
    if match := _RESNET.match(plain):
        plain = f"resnet{match[1]}"
    elif match := _EFFICIENTNET.match(plain):
        plain = f"efficientnet-b{match[1]}"
    elif match := _LITE.match(plain):
        return f"tu-{timm_name(f'tf_efficientnet_lite{match[1]}')}"
    from segmentation_models_pytorch.encoders import encoders

    known = [n for n in encoders if not n.startswith("timm-")]
    return plain if plain in encoders else unknown_name("encoder", name, known, "; any timm model works as tu-NAME")


def timm_name(
    name: str,
    what: str = "encoder",
    prefix: str = "tu-",  # what users write before timm's names
) -> str:
    """Return `name` if it is timm's, with or without a tag of its weights; raise `UserError` otherwise."""
    import timm

    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        unknown_name(what, prefix + name, [prefix + m for m in timm.list_models()])
    tags = _timm_tags(base)
    if tag and tag not in tags:
        raise UserError(f"timm has no weights {tag!r} for {base}: it has {', '.join(sorted(tags)) or 'none'}.")
    return name


def _timm_tags(base: str) -> set[str]:
    import timm

    return {p.partition(".")[2] for p in timm.list_models(f"{base}.*", pretrained=True)}


def has_fixed_size(smp_name: str) -> bool:
    """Return True for timm models (Swin, ViT) that need their input size when they are built."""
    return smp_name.startswith("tu-") and timm_has_fixed_size(smp_name[3:])


def timm_has_fixed_size(name: str) -> bool:
    """Return True for the models of timm that take `img_size`."""
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(config and config.fixed_input_size)


def choose_encoder(encoder: str, weights: str) -> EncoderChoice:
    """Return the encoder with its published weights: "none", "imagenet", "advprop", "noisy-student" or "packaged".

    Packaged weights are loaded into the finished network (`packaged_tensors`), so smp is asked for none. EfficientNet's
    noisy-student weights are only in timm, where the same network is `tf_efficientnet_b*`.
    Raises `UserError` if no such weights were published.
    """
    name = encoder_name(encoder)
    if weights in ("none", "packaged"):
        return EncoderChoice(name, None)
    if weights not in WEIGHTS:
        unknown_name("weights", weights, WEIGHTS, "; or the path of a file")
    if name.startswith("tu-"):
        return EncoderChoice(f"tu-{timm_weights(name[3:], weights)}", True)
    from segmentation_models_pytorch.encoders import encoders

    published = encoders[name].get("pretrained_settings") or {}
    if weights in published:
        return EncoderChoice(name, weights)
    if match := _EFFICIENTNET.match(name):
        return EncoderChoice(f"tu-{timm_weights(f'tf_efficientnet_b{match[1]}', weights)}", True)
    raise UserError(
        f"no {weights} weights were published for {encoder}: there are {', '.join(published) or 'none'}. "
        f"Use weights=none, or another encoder."
    )


def timm_weights(name: str, weights: str, prefix: str = "tu-") -> str:
    """Return timm's name with the tag of the requested weights; a tag in `name` is kept.

    Raises `UserError` if timm has no such weights.
    """
    import timm

    base, _, tag = name.partition(".")
    tags = _timm_tags(base)
    if tag:
        return name
    if _TIMM_TAGS[weights] in tags:
        return f"{name}.{_TIMM_TAGS[weights]}"
    if weights == "imagenet" and timm.is_model_pretrained(base):
        return name  # timm's default tag
    has = ", ".join(sorted(tags)) or "none"
    raise UserError(
        f"timm has no {weights} weights for {base}: it has {has}. "
        f"Name weights as {prefix}{base}.TAG, or use weights=none."
    )


def unknown_name(what: str, name: str, known: Iterable[str], more: str = "") -> NoReturn:
    """Raise a `UserError` for an unknown name, with the nearest of the known ones."""
    near = difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.4)
    hint = f"Did you mean {', '.join(near)}?" if near else f"Known ones: {', '.join(list(known)[:8])} and others."
    raise UserError(
        f"unknown {what} {name!r}. {hint[:-1]}{more}{hint[-1]}" if more else f"unknown {what} {name!r}. {hint}"
    )
