"""Normalisation of inputs: mean and standard deviation of the images that published weights were trained on."""

import timm
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from .classification import ClfSpec
from .names import WEIGHTS
from .paper_models import pretrained_name


def input_stats(spec: ClfSpec, weights: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation per channel of the images (in 0..1) that the weights were trained on.

    If the number of channels is not three, they follow the adapted first convolution: one channel gets the mean of the
    three, more than three repeat them.
    """
    published = weights in WEIGHTS and weights != "none"
    config = timm.get_pretrained_cfg(pretrained_name(spec.model, weights) if published else spec.model)
    stats = (config.mean, config.std) if config else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    mean, std = ((sum(v) / 3,) if spec.in_channels == 1 else v for v in stats)
    return tuple(mean[i % 3] for i in range(spec.in_channels)), tuple(std[i % 3] for i in range(spec.in_channels))
