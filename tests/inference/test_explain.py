"""Class activation maps show what a network used, for every kind of network, and report unsupported ones."""

import sys

import numpy as np
import pytest
import timm
import torch
from torch import nn

from dedl_fastai.errors import UserError
from dedl_fastai.inference.explain import activation_map, display_picture, overlay, target_layer

SWIN = dict(img_size=64, window_size=2, embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4))
NETWORKS = {
    "resnet": ("test_resnet", (64, 96), {}),
    "efficientnet": ("test_efficientnet", (64, 64), {}),
    "nfnet": ("test_nfnet", (64, 64), {}),
    "convnext": ("test_convnext", (64, 64), {}),
    "vit": ("test_vit", (96, 64), dict(img_size=(96, 64))),
    "vit-attention-pool": ("test_vit3", (64, 64), dict(img_size=64)),
    "swin": ("swin_tiny_patch4_window7_224", (64, 64), SWIN),
    "channels-last": ("test_mambaout", (64, 96), {}),
}


@pytest.fixture(scope="module")
def captum():
    return pytest.importorskip("captum")


class Brightness(nn.Module):
    """The logit of class 1 grows with brightness; that of class 0 is its negative."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, stride=2, padding=1)
        self.head = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.conv.weight.fill_(1 / 9)
            self.conv.bias.zero_()
            self.head.weight.copy_(torch.tensor([[-1.0], [1.0]]))

    def forward(self, x):
        return self.head(self.conv(x).relu().mean(dim=(2, 3)))


def corner_picture() -> torch.Tensor:
    x = torch.zeros(1, 1, 32, 48)
    x[..., :8, 36:] = 1
    return x


def test_map_highlights_the_corner_that_determines_the_class(captum):
    activation = activation_map(Brightness(), corner_picture(), 1)
    assert activation.shape == (32, 48) and activation.min() == 0 and activation.max() == 1
    assert activation[:8, 36:].mean() > 0.8
    assert activation[16:].max() == activation[:, :24].max() == 0


def test_map_is_empty_if_all_evidence_is_against_the_class(captum):
    assert (activation_map(Brightness(), corner_picture(), 0) == 0).all()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_map_of_every_kind_of_network(captum, network):
    name, size, options = network
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3, **options)
    x = torch.randn(1, 3, *size)
    maps = [activation_map(model, x, k) for k in range(3)]
    for activation in maps:
        assert activation.shape == size and activation.dtype == np.float32
        assert 0 <= activation.min() <= activation.max() <= 1
    assert max(np.ptp(activation) for activation in maps) > 0.05


def spot_pictures(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise with a bright square of 8 x 8 in some channels; returns pictures, which channels have one, and where."""
    x, there, where = torch.rand(n, 2, 64, 64) * 0.2, torch.rand(n, 2) < 0.6, torch.randint(0, 8, (n, 2, 2))
    for i, k in torch.nonzero(there).tolist():
        row, column = (8 * where[i, k]).tolist()
        x[i, k, row : row + 8, column : column + 8] += 0.8
    return x, there, where


def test_maps_of_a_trained_transformer_find_the_spot_of_their_class(captum):
    torch.manual_seed(0)
    shape = dict(img_size=64, patch_size=8, embed_dim=32, depth=3, num_heads=2)
    model = timm.create_model("test_vit", num_classes=2, in_chans=2, **shape)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(150):
        x, there, _ = spot_pictures(16)
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), there.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x, there, where = spot_pictures(20)
    hits = []
    for i, k in torch.nonzero(there).tolist():
        patches = activation_map(model, x[i : i + 1], k).reshape(8, 8, 8, 8).mean(axis=(1, 3))
        hits.append(np.unravel_index(patches.argmax(), (8, 8)) == tuple(where[i, k].tolist()))
    assert np.mean(hits) >= 0.4  # 0.5 to 0.9 over eight seeds; 1/64 by chance


@pytest.mark.parametrize("name", ["swin", "resnet"])
def test_map_is_gradient_times_activation_of_the_last_layer(captum, name):
    model_name, size, options = NETWORKS[name]
    torch.manual_seed(0)
    model = timm.create_model(model_name, num_classes=3, **options).eval()
    x = torch.randn(1, 3, *size)
    swin = name == "swin"  # channels last
    features = model.layers(model.patch_embed(x)) if swin else model.forward_features(x)
    logits = model.forward_head(model.norm(features) if swin else features)[0]
    empty = []
    for k in range(3):
        gradient = torch.autograd.grad(logits[k], features, retain_graph=True)[0]
        evidence = (gradient * features).sum(dim=-1 if swin else 1).relu().detach()
        expected = nn.functional.interpolate(evidence[None], size, mode="bilinear")[0, 0]
        empty.append(expected.max() == 0)
        assert np.allclose(activation_map(model, x, k), expected / expected.max().clamp_min(1e-30), atol=1e-4)
    assert not all(empty)


def test_map_leaves_the_network_as_it_was(captum):
    model = timm.create_model("test_resnet", num_classes=2).train().requires_grad_(False)
    model.bn1.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        activation_map(model, x, 0)
    assert model.training and model.layer1.training and not model.bn1.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not x.requires_grad and not model.fc.weight.requires_grad
    assert not model.layer4._forward_hooks


def test_network_inside_another_module(captum):
    torch.manual_seed(0)
    inner = timm.create_model("test_vit", num_classes=2, img_size=64)
    x = torch.randn(1, 3, 64, 64)
    assert np.array_equal(activation_map(nn.Sequential(inner), x, 1), activation_map(inner, x, 1))


@pytest.mark.parametrize("index", [-1, 2])
def test_unknown_class_is_refused(captum, index):
    with pytest.raises(UserError, match="its classes are 0 to 1"):
        activation_map(Brightness(), corner_picture(), index)


def test_missing_library_names_the_extra(monkeypatch):
    for module in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"dedl-fastai\[explain\]"):
        activation_map(Brightness(), corner_picture(), 1)


def test_network_without_a_spatial_layer():
    with pytest.raises(UserError, match="no convolution"):
        target_layer(nn.Linear(2, 2))
    with pytest.raises(UserError, match="no spatial layer"):
        target_layer(timm.create_model("test_vit", num_classes=1))[1](torch.zeros(1, 1 + 7, 3), 96, 64)


def test_tokens_are_arranged_row_by_row():
    _, to_planes = target_layer(timm.create_model("test_vit", num_classes=1, img_size=(96, 64)))
    tokens = torch.arange(1 + 24)[None, :, None].float()  # the class token first, then 6 rows of 4
    assert torch.equal(to_planes(tokens, 96, 64)[0, 0], torch.arange(1, 25).reshape(6, 4).float())


def test_overlay_tints_where_the_map_is_strong():
    picture, activation = np.full((1, 6, 9), 0.5, np.float32), np.zeros((6, 9), np.float32)
    activation[:2] = 1
    drawn = overlay(picture, activation)
    assert drawn.shape == (6, 9, 3) and drawn.dtype == np.uint8
    assert (drawn[2:] == 128).all()
    assert (drawn[:2] != 128).any(axis=-1).all()
    assert (overlay(picture, activation, strength=0) == 128).all()


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (2, 5, 7), (3, 5, 7), (7, 5, 7), (5, 7, 3)])
def test_any_picture_can_be_displayed(shape):
    rng = np.random.default_rng(0)
    for picture in (rng.random(shape), rng.normal(size=shape), rng.integers(0, 256, shape, np.uint8), np.zeros(shape)):
        shown = display_picture(picture)
        assert shown.shape == (5, 7, 3) and 0 <= shown.min() <= shown.max() <= 1


def test_three_channels_are_displayed_unchanged():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.allclose(display_picture(picture), picture / 255)
    assert np.allclose(display_picture(picture.transpose(2, 0, 1)), picture / 255)
