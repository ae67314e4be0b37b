"""The paper's classification models: table 4, timm's tags, the spellings of names, and errors that suggest a name."""

import pytest
import timm

from dedl_fastai.errors import UserError
from dedl_fastai.models.classification import ClfSpec
from dedl_fastai.models.paper_models import MORE_MODELS, PAPER_MODELS, clf_model_name, pretrained_name

ALL = PAPER_MODELS | MORE_MODELS


def test_table_4_is_complete():
    assert len(PAPER_MODELS) == 29
    assert {r.model for r in PAPER_MODELS.values()}.isdisjoint(r.model for r in MORE_MODELS.values())


def test_every_tag_exists_in_timm():
    known = set(timm.list_models(pretrained=True))
    rows = [(r.model, w) for r in ALL.values() for w in ("imagenet", "advprop", "noisy_student") if getattr(r, w)]
    assert len(rows) == len(ALL) + 16
    assert all(pretrained_name(model, w.replace("_", "-")) in known for model, w in rows)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Resnet-18", "resnet18"),
        ("RESNET 18", "resnet18"),
        ("Efficient-net B0", "tf_efficientnet_b0"),
        ("efficientnet-b7", "tf_efficientnet_b7"),
        ("nfnet-f3", "dm_nfnet_f3"),
        ("nfnet_f3", "nfnet_f3"),  # timm's own name is timm's model
        ("ConvNext-tiny", "convnext_tiny"),
        ("Swin Transformer Base (Patch 4 Window 12)", "swin_base_patch4_window12_384"),
        ("Swin Transformer Large (Patch 4 Window 12)", "swin_large_patch4_window12_384"),  # as in table 5
        ("swin-base", "swin_base_patch4_window12_384"),
        ("Vit-Base/16", "vit_base_patch16_384"),
        ("vit-large-32", "vit_large_patch32_384"),
        ("coatnet", "coatnet_rmlp_2_rw_384"),
        ("EfficientNet lite0", "tf_efficientnet_lite0"),
        ("test_vit", "test_vit"),
        ("resnet18.a1_in1k", "resnet18.a1_in1k"),
    ],
)
def test_name_of_the_paper_or_of_timm_gives_timms_name(name, model):
    assert clf_model_name(name) == model
    assert clf_model_name(clf_model_name(name)) == model


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet-19", "unknown model 'resnet-19'. Did you mean resnet-18"),
        ("swinn-base", "swin-base"),
        ("qqqqqq", "Known ones: resnet-18, resnet-34"),
        ("resnet18.of_mine", "timm has no weights 'of_mine' for resnet18: it has a1_in1k"),
    ],
)
def test_unknown_name_suggests_the_nearest(name, says):
    with pytest.raises(UserError) as error:
        ClfSpec(name)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("model", "weights", "name"),
    [
        ("resnet18", "imagenet", "resnet18.tv_in1k"),
        ("resnet18", "none", "resnet18"),
        ("resnet18.a1_in1k", "imagenet", "resnet18.a1_in1k"),
        ("tf_efficientnet_b3", "noisy-student", "tf_efficientnet_b3.ns_jft_in1k"),
        ("test_vit", "imagenet", "test_vit"),
    ],
)
def test_weights_choose_timms_tag(model, weights, name):
    assert pretrained_name(model, weights) == name
