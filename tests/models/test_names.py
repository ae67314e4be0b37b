"""Names of architectures, encoders and weights: the paper's spellings, timm's, and errors that suggest a name."""

import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.models.names import (
    ARCHS,
    PAPER_ENCODERS,
    arch_name,
    choose_encoder,
    encoder_name,
    has_fixed_size,
)
from dedl_fastai.models.segmentation import SegSpec, create_seg_model

SMALL_PAPER_ENCODERS = ("resnet18", "resnet34", "efficientnet-b0", "efficientnet-b1")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("U-Net", "unet"),
        ("U-Net++", "unetplusplus"),
        ("DeepLabV3+", "deeplabv3plus"),
        ("FPN", "fpn"),
        ("PSPNet", "pspnet"),
    ],
)
def test_arch_spellings_of_papers(written, name):
    assert arch_name(written) == name


@pytest.mark.parametrize("arch", ARCHS)
def test_arch_names_are_accepted_unchanged(arch):
    assert arch_name(arch) == arch


def test_unknown_arch_suggests_the_nearest():
    with pytest.raises(UserError, match=r"unknown architecture 'deeplabv4'.*Did you mean deeplabv3, deeplabv3plus\?"):
        arch_name("deeplabv4")


def test_arch_without_a_similar_name_lists_some():
    with pytest.raises(UserError, match=r"'qqq'\. Known ones: unet, .* and others\.$"):
        arch_name("qqq")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ResNet-18", "resnet18"),
        ("resnet 50", "resnet50"),
        ("ResNet_101", "resnet101"),
        ("Efficient-net B0", "efficientnet-b0"),
        ("EfficientNet-B7", "efficientnet-b7"),
        ("efficientnetb3", "efficientnet-b3"),
        ("timm-efficientnet-b4", "efficientnet-b4"),
        ("EfficientNet-lite0", "tu-tf_efficientnet_lite0"),
        ("efficientnet_lite4", "tu-tf_efficientnet_lite4"),
        (" resnet34 ", "resnet34"),
        ("mobilenet_v2", "mobilenet_v2"),
    ],
)
def test_encoder_spellings_of_papers(written, name):
    assert encoder_name(written) == name


def test_paper_compares_twelve_encoders():
    assert len(set(PAPER_ENCODERS)) == 12


@pytest.mark.parametrize("encoder", PAPER_ENCODERS)
def test_paper_encoders_resolve_with_and_without_imagenet_weights(encoder):
    assert choose_encoder(encoder, "none").smp_name == encoder
    assert choose_encoder(encoder, "imagenet").smp_weights == "imagenet"


@pytest.mark.parametrize("encoder", SMALL_PAPER_ENCODERS)
def test_small_paper_encoders_build(encoder):
    model = create_seg_model(SegSpec(encoder=encoder), tile=32)
    assert next(model.encoder.parameters()).shape[1] == 1


def test_unknown_encoder_suggests_the_nearest_and_timm():
    with pytest.raises(UserError, match=r"unknown encoder 'resnet19'.*resnet18.*tu-NAME\?$"):
        encoder_name("resnet19")


def test_encoder_without_a_similar_name_lists_some_and_timm():
    with pytest.raises(UserError, match=r"Known ones: resnet18, .* and others; any timm model works as tu-NAME\.$"):
        encoder_name("qqqqqq")


def test_timm_encoder_keeps_its_name():
    assert encoder_name("tu-test_resnet") == "tu-test_resnet"
    assert encoder_name("tu-test_resnet.r160_in1k") == "tu-test_resnet.r160_in1k"


def test_unknown_timm_encoder_suggests_the_nearest():
    with pytest.raises(UserError, match=r"'tu-test_resnt'.*tu-test_resnet"):
        encoder_name("tu-test_resnt")


def test_unknown_timm_tag_lists_the_known():
    with pytest.raises(UserError, match=r"no weights 'bogus' for resnet18: it has .*a1_in1k"):
        encoder_name("tu-resnet18.bogus")


def test_vision_transformers_have_a_fixed_size_but_convolutional_networks_have_none():
    assert has_fixed_size("tu-test_vit")
    assert not has_fixed_size("tu-test_resnet")
    assert not has_fixed_size("resnet18")


def test_noisy_student_efficientnet_is_timms():
    choice = choose_encoder("Efficient-net B2", "noisy-student")
    assert (choice.smp_name, choice.smp_weights) == ("tu-tf_efficientnet_b2.ns_jft_in1k", True)


def test_advprop_efficientnet_is_smps():
    choice = choose_encoder("efficientnet-b0", "advprop")
    assert (choice.smp_name, choice.smp_weights) == ("efficientnet-b0", "advprop")


@pytest.mark.parametrize("encoder", ["tu-test_resnet", "tu-test_resnet.r160_in1k"])
def test_timm_imagenet_weights(encoder):
    choice = choose_encoder(encoder, "imagenet")
    assert (choice.smp_name, choice.smp_weights) == (encoder, True)


@pytest.mark.parametrize(
    ("encoder", "has"), [("resnet18", "there are imagenet, ssl, swsl"), ("tu-test_resnet", "it has r160_in1k")]
)
def test_error_for_unpublished_weights_lists_the_published_ones(encoder, has):
    with pytest.raises(UserError, match=rf"no advprop weights.*{has}"):
        choose_encoder(encoder, "advprop")


def test_unknown_weights_suggest_the_nearest_and_a_file():
    with pytest.raises(UserError, match=r"unknown weights 'imagnet'. Did you mean imagenet.*; or the path of a file\?"):
        choose_encoder("resnet18", "imagnet")
