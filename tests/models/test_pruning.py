"""Pruning: the output stays that of smp's whole network, and every remaining parameter gets a gradient."""

import pytest
import segmentation_models_pytorch as smp
import torch

from dedl_fastai.models.pruning import Removed
from dedl_fastai.models.segmentation import SegSpec, create_seg_model

TINY = "tu-test_resnet"


def whole_network(spec: SegSpec) -> torch.nn.Module:
    """smp's own network for that specification, without pruning."""
    options = {"decoder_attention_type": "scse"} if spec.attention == "scse" else {}
    return smp.create_model(
        spec.arch,
        encoder_name=spec.encoder,
        encoder_weights=None,
        encoder_depth=spec.depth,
        decoder_channels=spec.decoder_channels,
        in_channels=spec.in_channels,
        classes=spec.classes,
        **options,
    )


def shake(model: torch.nn.Module) -> None:
    """Set running statistics as after training, so that batch norm is not the identity."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)


@pytest.mark.parametrize("attention", ["none", "scse"])
@pytest.mark.parametrize("arch", ["unet", "unetplusplus"])
@pytest.mark.parametrize("encoder", ["resnet18", "efficientnet-b0", TINY])
def test_pruned_network_equals_the_whole_one(arch, encoder, attention):
    spec = SegSpec(arch, encoder, attention=attention, in_channels=3)
    whole, pruned = whole_network(spec), create_seg_model(spec, tile=32)
    shake(whole)
    missing = pruned.load_state_dict(whole.state_dict(), strict=False).missing_keys
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(pruned.eval()(x), whole.eval()(x))
    assert missing == []


@pytest.mark.parametrize("encoder", ["resnet18", "efficientnet-b0"])
def test_pruning_removes_most_parameters_at_depth_3(encoder):
    spec = SegSpec("unet", encoder, attention="none", in_channels=3)
    count = [sum(p.numel() for p in m.encoder.parameters()) for m in (create_seg_model(spec), whole_network(spec))]
    assert count[0] < count[1] / 4


def test_full_depth_keeps_the_whole_resnet():
    model = create_seg_model(SegSpec("unet", "resnet18", depth=5, attention="none"), tile=32)
    assert not any(isinstance(m, Removed) for m in model.modules())


@pytest.mark.parametrize(
    "spec",
    [
        *(SegSpec(a, TINY) for a in ("unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "pan", "upernet")),
        *(SegSpec(a, TINY) for a in ("deeplabv3", "deeplabv3plus", "segformer")),
        SegSpec("dpt", "tu-test_vit", depth=4),
        SegSpec("unet", "resnet18"),
        SegSpec("unet", "efficientnet-b0", attention="scse"),
        SegSpec("unet", "efficientnet-b0", depth=5),
        SegSpec("unet", "tu-hrnet_w18_small"),
    ],
    ids=lambda s: f"{s.arch}-{s.encoder}-{s.depth}",
)
def test_every_trainable_parameter_gets_a_gradient(spec):
    model = create_seg_model(spec, tile=64)
    model(torch.randn(2, 1, 64, 64)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_stages_that_cannot_be_removed_are_frozen():
    """HRNet computes its deep stages even if the decoder uses none of them."""
    model = create_seg_model(SegSpec("unet", "tu-hrnet_w18_small"), tile=64)
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert frozen and all(n.startswith("encoder.") or "attention1" in n for n in frozen)
    assert not any(isinstance(m, Removed) for m in model.modules())


def test_removed_returns_its_input():
    x = torch.randn(3)
    assert Removed()(x, 0.2) is x


def test_building_leaves_nothing_on_the_meta_device():
    model = create_seg_model(SegSpec("unet", "efficientnet-b0"), tile=32)
    assert {t.device.type for t in model.state_dict().values()} == {"cpu"}
