"""Segmentation networks: architectures, attention, widths, channels, and errors for combinations that do not run."""

import pytest
import torch
from segmentation_models_pytorch.base.modules import SCSEModule

from dedl_fastai.errors import UserError
from dedl_fastai.models.names import ARCHS
from dedl_fastai.models.segmentation import ChannelAttention, SegSpec, check_tile, create_seg_model

TINY = "tu-test_resnet"
CONVOLUTIONAL = tuple(a for a in ARCHS if a != "dpt")


def modules_of(model, kind):
    return [m for m in model.modules() if isinstance(m, kind)]


@pytest.mark.parametrize("arch", CONVOLUTIONAL)
def test_every_arch_gives_logits_of_the_tile_size(arch):
    model = create_seg_model(SegSpec(arch, TINY, classes=3), tile=64)
    assert model(torch.randn(2, 1, 64, 64)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("depth", [3, 4, 5])
@pytest.mark.parametrize("arch", ["unet", "linknet", "fpn", "pspnet"])
def test_logits_have_the_tile_size_at_any_depth(arch, depth):
    model = create_seg_model(SegSpec(arch, TINY, depth), tile=64)
    assert model(torch.randn(2, 1, 64, 64)).shape == (2, 2, 64, 64)


@pytest.mark.parametrize(
    "encoder", ["tu-test_convnext", "tu-test_efficientnet", "tu-test_nfnet", "mit_b0", "tu-hrnet_w18_small"]
)
def test_unet_runs_with_encoders_of_other_families(encoder):
    model = create_seg_model(SegSpec("unet", encoder), tile=64)
    assert model(torch.randn(2, 1, 64, 64)).shape == (2, 2, 64, 64)


def test_dpt_runs_with_a_timm_transformer_of_depth_4():
    model = create_seg_model(SegSpec("dpt", "tu-test_vit", depth=4), tile=64)
    assert model(torch.randn(2, 1, 64, 64)).shape == (2, 2, 64, 64)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (SegSpec("dpt", "resnet18"), "tu-"),
        (SegSpec("dpt", TINY), "same length"),
        (SegSpec("unet", "tu-test_vit"), "downsampling"),
        (SegSpec("fpn", TINY, depth=2), "cannot be less than 3"),
        (SegSpec("pan", TINY, depth=5), "too small"),
        (SegSpec("linknet", "tu-test_convnext", depth=1), "index 0"),
    ],
    ids=lambda v: f"{v.arch}-{v.encoder}-{v.depth}" if isinstance(v, SegSpec) else "",
)
@pytest.mark.filterwarnings("ignore:Encoder does not have prefix tokens", "ignore:Initializing zero-element")
def test_combination_that_does_not_run_is_a_user_error(spec, reason):
    with pytest.raises(UserError, match=f"{spec.arch} with {spec.encoder}, depth {spec.depth}.*64 px.*{reason}"):
        create_seg_model(spec, tile=64)


@pytest.mark.parametrize("encoder", [TINY, "resnet18"])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_in_channels(encoder, channels):
    model = create_seg_model(SegSpec("unet", encoder, in_channels=channels), tile=32)
    assert model(torch.randn(1, channels, 32, 32)).shape == (1, 2, 32, 32)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_depth_fixes_default_widths_and_stride(depth):
    spec = SegSpec(depth=depth)
    assert spec.decoder_channels == (256, 128, 64, 32, 16)[:depth]
    assert spec.stride == 2**depth


@pytest.mark.parametrize("arch", ["unet", "manet"])
def test_decoder_has_the_requested_widths(arch):
    model = create_seg_model(SegSpec(arch, TINY, depth=2, decoder_channels=(40, 24), attention="none"), tile=32)
    assert model.segmentation_head[0].in_channels == 24
    widths = {c.out_channels for c in modules_of(model.decoder, torch.nn.Conv2d)}
    assert {40, 24} <= widths


@pytest.mark.parametrize("depth", [0, 6])
def test_depth_outside_1_to_5_is_refused(depth):
    with pytest.raises(UserError, match=f"depth={depth}"):
        SegSpec(depth=depth)


def test_number_of_widths_must_equal_the_depth():
    with pytest.raises(UserError, match="3 widths are needed"):
        SegSpec(depth=3, decoder_channels=(64, 32))


def test_unknown_attention_lists_the_known():
    with pytest.raises(UserError, match=r"'cbam' is unknown; it may be none, se, scse"):
        SegSpec(attention="cbam")


@pytest.mark.parametrize("attention", ["se", "scse"])
def test_decoder_too_narrow_for_attention_is_refused(attention):
    with pytest.raises(UserError, match=r"decoder=32,16,8 is too narrow.*at least 16.*none"):
        SegSpec(decoder_channels=(32, 16, 8), attention=attention)


def test_narrow_decoder_is_accepted_without_attention():
    model = create_seg_model(SegSpec("unet", TINY, decoder_channels=(32, 16, 8), attention="none"), tile=32)
    assert model.segmentation_head[0].in_channels == 8


@pytest.mark.parametrize("arch", ["unet", "unetplusplus"])
def test_attention_none_se_and_scse_differ_in_their_modules(arch):
    kinds = {}
    for attention in ("none", "se", "scse"):
        model = create_seg_model(SegSpec(arch, TINY, attention=attention), tile=32)
        kinds[attention] = [bool(modules_of(model, k)) for k in (ChannelAttention, SCSEModule)]
    assert kinds == {"none": [False, False], "se": [True, False], "scse": [False, True]}


def test_channel_attention_is_x_times_its_squeeze():
    attention = modules_of(create_seg_model(SegSpec("unet", TINY), tile=32), ChannelAttention)[0].eval()
    channels = attention.squeeze[1].in_channels
    x = torch.randn(2, channels, 5, 5)
    weight = attention.squeeze(x)
    assert weight.shape == (2, channels, 1, 1)
    assert (weight > 0).all() and (weight < 1).all()
    assert torch.equal(attention(x), x * weight)


def test_channel_attention_is_the_channel_part_of_scse():
    scse = SCSEModule(32, reduction=16)
    x = torch.randn(2, 32, 5, 5)
    assert torch.allclose(scse(x) - x * scse.sSE(x), ChannelAttention(scse.cSE)(x), atol=1e-6)


@pytest.mark.parametrize(("tile", "depth", "use"), [(250, 3, "248 or 256"), (100, 5, "96 or 128"), (4, 3, "8 or 16")])
def test_error_for_an_indivisible_tile_names_the_nearest_edges(tile, depth, use):
    with pytest.raises(UserError, match=f"tile={tile} is not divisible by {2**depth}.*use {use}"):
        check_tile(tile, SegSpec(depth=depth))


@pytest.mark.parametrize(("tile", "depth"), [(480, 5), (8, 3), (200, 3)])
def test_divisible_tile_is_accepted(tile, depth):
    assert check_tile(tile, SegSpec(depth=depth)) is None


def test_tile_is_checked_before_anything_is_built():
    with pytest.raises(UserError, match="not divisible by 8"):
        create_seg_model(SegSpec(encoder="no-such-encoder"), tile=30)


def test_spec_survives_its_dict():
    spec = SegSpec(
        "U-Net++", "ResNet-18", depth=2, decoder_channels=(48, 16), attention="scse", in_channels=7, classes=3
    )
    assert SegSpec.from_dict(spec.to_dict()) == spec
    assert spec.to_dict()["arch"] == "unetplusplus"
    assert spec.to_dict()["decoder_channels"] == [48, 16]
