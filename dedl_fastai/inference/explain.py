"""Class activation maps: where in a picture a classification network saw a class, for CNNs and transformers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..extras import optional


def activation_map(
    model: nn.Module,  # picture -> logits (1, K)
    picture: Tensor,  # (1, C, H, W), prepared as for the network
    class_index: int,
) -> np.ndarray:
    """Where the evidence for a class lies, (H, W) in [0, 1]; 0 everywhere when nothing speaks for it.

    Gradient times activation of the last layer that has places, summed over its channels (HiResCAM, Draelos and
    Carin 2020). It is Grad-CAM where a mean over places and a linear layer follow, and, unlike Grad-CAM, points at
    what the network used where something else does. Attention moves evidence between places before that layer, so
    the map of a transformer is a hint rather than a proof.
    """
    method = optional("captum.attr", "explain", "class activation maps").LayerGradientXActivation
    layer, to_planes = target_layer(model)
    with _evaluating(model), torch.inference_mode(False), torch.enable_grad():
        x = picture.detach().clone().to(next(model.parameters()).device)
        classes = model(x).shape[1]
        if not 0 <= class_index < classes:
            raise UserError(f"class {class_index} is unknown to this network: its classes are 0 to {classes - 1}.")
        found = method(model, layer).attribute(x, target=class_index).detach().float()
    height, width = picture.shape[-2:]
    planes = to_planes(found, height, width).sum(dim=1, keepdim=True).relu()
    smooth = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0, 0]
    return (smooth / smooth.max().clamp_min(torch.finfo(smooth.dtype).tiny)).cpu().numpy()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(m, m.training) for m in model.modules()]  # one by one: frozen parts evaluate while the rest trains
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def overlay(picture: np.ndarray, activation: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """uint8 (H, W, 3): the picture, (C, H, W) or (H, W, 3), tinted the more the stronger its activation is."""
    colours = colormaps["inferno"](activation)[..., :3]
    share = strength * np.clip(activation, 0, 1)[..., None]
    return np.round(255 * ((1 - share) * display_picture(picture) + share * colours)).astype(np.uint8)


def display_picture(picture: np.ndarray) -> np.ndarray:
    """Float (H, W, 3) in [0, 1] of a picture (H, W), (H, W, 3) or (C, H, W): three channels are red, green, blue.

    Other numbers of channels get a hue each. What is neither uint8 nor within [0, 1] is stretched channel by channel.
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
        hues = np.linspace(0, 1, len(values), endpoint=False)
        colours = np.ones((1, 3)) if len(values) == 1 else colormaps["hsv"](hues)[:, :3]
        values = np.tensordot(colours.T, values, axes=1)
    return np.clip(values.transpose(1, 2, 0), 0, 1)


def target_layer(model: nn.Module) -> tuple[nn.Module, Callable[[Tensor, int, int], Tensor]]:
    """The last layer that still has places, and how its output becomes (1, channels, h, w) given a picture's size."""
    network = next((m for m in model.modules() if getattr(m, "feature_info", None)), None)
    if network is None:
        return _last_convolution(model), lambda found, height, width: found
    info = getattr(network.feature_info, "info", network.feature_info)
    layer = network.get_submodule(info[-1]["module"])
    prefix = getattr(network, "num_prefix_tokens", 0)
    if prefix and getattr(network, "global_pool", "") == "token" and hasattr(layer, "norm1"):
        layer = layer.norm1  # only the class token leaves the last block, so its patches have no gradient behind it
    channels_last = str(getattr(network, "output_fmt", "NCHW")) == "NHWC"
    return layer, lambda found, height, width: _planes(found, height, width, prefix, channels_last)


def _planes(found: Tensor, height: int, width: int, prefix: int, channels_last: bool) -> Tensor:
    if found.ndim == 4:
        return found.permute(0, 3, 1, 2) if channels_last else found
    tokens = found[:, prefix:]
    h = round((tokens.shape[1] * height / width) ** 0.5)
    if tokens.ndim != 3 or not h or tokens.shape[1] % h:
        raise UserError("this network keeps no map of places, so it has no class activation map: take another model.")
    return tokens.transpose(1, 2).unflatten(2, (h, -1))


def _last_convolution(model: nn.Module) -> nn.Module:
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    if not found:
        raise UserError("this network has no convolution, so it has no class activation map: take another model.")
    return found[-1]
