"""Normalisation of inputs: the statistics of the images that published weights were trained on."""

import pytest

from dedl_fastai.models.classification import ClfSpec
from dedl_fastai.models.normalisation import input_stats


@pytest.mark.parametrize(
    ("model", "weights", "channels", "mean"),
    [
        ("resnet18", "imagenet", 3, (0.485, 0.456, 0.406)),
        ("resnet18", "none", 3, (0.485, 0.456, 0.406)),
        ("vit-base/16", "imagenet", 3, (0.5, 0.5, 0.5)),
        ("efficientnet-b0", "imagenet", 3, (0.485, 0.456, 0.406)),
        ("efficientnet-b0", "advprop", 3, (0.5, 0.5, 0.5)),
        ("efficientnet-lite0", "packaged", 3, (0.5, 0.5, 0.5)),
        ("resnet18", "imagenet", 1, (0.449,)),
        ("resnet18", "imagenet", 5, (0.485, 0.456, 0.406, 0.485, 0.456)),
        ("vit-base/16", "some/file.pth", 3, (0.5, 0.5, 0.5)),
        ("nfnet_f0", "none", 3, (0.485, 0.456, 0.406)),
    ],
)
def test_statistics_are_those_of_the_images_that_the_weights_were_trained_on(model, weights, channels, mean):
    got, spread = input_stats(ClfSpec(model, 224, channels), weights)
    assert got == pytest.approx(mean)
    assert len(spread) == channels
