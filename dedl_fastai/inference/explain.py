"""Class activation maps of CNNs and transformers: where in a picture a classification network saw a class."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.colors import planes_to_rgb
from ..errors import UserError
from ..extras import optional


def activation_map(
    model: nn.Module,  # picture -> logits (1, K)
    picture: Tensor,  # (1, C, H, W), prepared as for the network
    class_index: int,
) -> np.ndarray:
    """Map of the evidence for a class, (H, W) in [0, 1]; 0 everywhere if there is no evidence for it.

    The map is gradient times activation of the last spatial layer, summed over its channels (HiResCAM, Draelos and
    Carin 2020). It equals Grad-CAM if global average pooling and a linear layer follow; unlike Grad-CAM it also shows
    what the network used if other layers follow. Attention moves evidence between positions before that layer, so the
    map of a transformer is a hint rather than a proof.
    """
    method = optional("captum.attr", "explain", "class activation maps").LayerGradientXActivation
    layer, to_planes = target_layer(model)
    with _evaluating(model), torch.inference_mode(False), torch.enable_grad():
        x = picture.detach().clone().to(next(model.parameters()).device)
        classes = model(x).shape[1]
        if not 0 <= class_index < classes:
            raise UserError(f"this network has no class {class_index}: its classes are 0 to {classes - 1}.")
        evidence = method(model, layer).attribute(x, target=class_index).detach().float()
    height, width = picture.shape[-2:]
    planes = to_planes(evidence, height, width).sum(dim=1, keepdim=True).relu()
    smooth = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0, 0]
    return (smooth / smooth.max().clamp_min(torch.finfo(smooth.dtype).tiny)).cpu().numpy()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [
        (m, m.training) for m in model.modules()
    ]  # of each module, since frozen modules may be in eval mode while the others train
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def overlay(picture: np.ndarray, activation: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """Blend a picture, (C, H, W) or (H, W, 3), with the colours of its activation; returns uint8 (H, W, 3)."""
    colours = colormaps["inferno"](activation)[..., :3]
    share = strength * np.clip(activation, 0, 1)[..., None]
    return np.round(255 * ((1 - share) * display_picture(picture) + share * colours)).astype(np.uint8)


def display_picture(picture: np.ndarray) -> np.ndarray:
    """Picture (H, W), (H, W, 3) or (C, H, W) as float RGB (H, W, 3) in [0, 1]; three channels are red, green and blue.

    Other numbers of channels are drawn in colours of their own. Values outside [0, 1] are rescaled per channel, except
    in uint8 pictures.
    """
    picture = np.asarray(picture)
    values = picture.astype(np.float32) / (255 if picture.dtype == np.uint8 else 1)
    if values.ndim == 2:
        values = values[None]
    elif values.shape[-1] == 3 and values.shape[0] > 3:
        values = values.transpose(2, 0, 1)
    if values.min() < 0 or values.max() > 1:
        low, high = (f(axis=(1, 2), keepdims=True) for f in (values.min, values.max))
        values = (values - low) / np.maximum(high - low, 1e-12)
    if len(values) != 3:
        values = planes_to_rgb(values, [(255, 255, 255)] if len(values) == 1 else None)
    return np.clip(values.transpose(1, 2, 0), 0, 1)


def target_layer(model: nn.Module) -> tuple[nn.Module, Callable[[Tensor, int, int], Tensor]]:
    """The last spatial layer, and a function that reshapes its output to (1, channels, h, w) for a picture's (H, W)."""
    network = next((m for m in model.modules() if getattr(m, "feature_info", None)), None)
    if network is None:
        return _last_convolution(model), lambda output, height, width: output
    feature_info: Any = network.feature_info  # timm's FeatureInfo or list of dicts, which nn.Module does not declare
    info = getattr(feature_info, "info", feature_info)
    layer = network.get_submodule(info[-1]["module"])
    prefix = getattr(network, "num_prefix_tokens", 0)
    if prefix and getattr(network, "global_pool", "") == "token" and hasattr(layer, "norm1"):
        # only the class token is used after the last block, so there is no gradient at the patches behind it
        layer = layer.get_submodule("norm1")
    channels_last = str(getattr(network, "output_fmt", "NCHW")) == "NHWC"
    return layer, lambda output, height, width: _planes(
        output, height, width, prefix=prefix, channels_last=channels_last
    )


def _planes(output: Tensor, height: int, width: int, prefix: int, channels_last: bool) -> Tensor:
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if channels_last else output
    tokens = output[:, prefix:]
    h = round((tokens.shape[1] * height / width) ** 0.5)
    if tokens.ndim != 3 or not h or tokens.shape[1] % h:
        raise UserError("this network has no spatial layer, so it has no class activation map: use another model.")
    return tokens.transpose(1, 2).unflatten(2, (h, -1))


def _last_convolution(model: nn.Module) -> nn.Module:
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    if not convolutions:
        raise UserError("this network has no convolution, so it has no class activation map: use another model.")
    return convolutions[-1]
