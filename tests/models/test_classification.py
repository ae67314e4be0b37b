"""Classification networks: every model of the tables, sizes, channels, weights from a file, and errors offline."""

import logging
import math

import pytest
import timm
import torch
from torch import nn

from dedl_fastai.errors import UserError
from dedl_fastai.models.classification import ClfSpec, body_parameters, create_clf_model, head_parameters
from dedl_fastai.models.paper_models import MORE_MODELS, PAPER_MODELS
from dedl_fastai.models.weights import write_tensors

ALL = PAPER_MODELS | MORE_MODELS
COMPUTED = ("Resnet-18", "Efficient-net B0")  # the others run on the meta device
TINY = ClfSpec("test_resnet", size=32, in_channels=3, classes=5)


def on_meta(spec):
    with torch.device("meta"):
        return create_clf_model(spec, "none").to("meta").eval()


@pytest.mark.parametrize("name", ALL)
def test_every_model_of_the_tables_gives_5_logits_at_its_size(name):
    spec = ClfSpec(name, ALL[name].size)
    if name in COMPUTED:
        model, x = create_clf_model(spec, "none").eval(), torch.rand(1, 3, spec.size, spec.size)
    else:
        model, x = on_meta(spec), torch.empty(1, 3, spec.size, spec.size, device="meta")
    with torch.no_grad():
        assert model(x).shape == (1, 5)
    assert sum(p.numel() for p in head_parameters(model)) == model.num_features * 5 + 5
    assert len(head_parameters(model)) + len(body_parameters(model)) == len(list(model.parameters()))


@pytest.mark.parametrize(("model", "weights"), [("resnet18", "advprop"), ("nfnet_f0", "imagenet")])
def test_weights_that_were_never_published_are_user_errors(model, weights):
    with pytest.raises(UserError, match=f"timm has no {weights} weights for {model}"):
        create_clf_model(ClfSpec(model, 32), weights)


@pytest.mark.parametrize(
    ("model", "size"),
    [("swin-base", 224), ("swin-large", 256), ("vit-base/16", 224), ("vit-base/32", 96), ("coatnet", 256)],
)
def test_transformers_take_other_sizes(model, size):
    spec = ClfSpec(model, size, in_channels=1, classes=2)
    assert on_meta(spec)(torch.empty(2, 1, size, size, device="meta")).shape == (2, 2)


@pytest.mark.parametrize(
    ("model", "size", "says"),
    [
        ("vit-base/16", 250, "size=250 is not divisible by 16.*use 240 or 256"),
        ("dinov2-small", 384, "use 378 or 392"),
        ("test_vit", 5, "use 16 or 32"),
        ("coatnet", 250, "coatnet_rmlp_2_rw_384 with images of 250 px does not run"),
    ],
)
def test_sizes_that_do_not_run_are_user_errors(model, size, says):
    with pytest.raises(UserError, match=says):
        create_clf_model(ClfSpec(model, size), "none")


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"in_channels": 0}, {"classes": 0}, {"drop": 1.0}, {"drop": -0.1}], ids=str
)
def test_impossible_specs_are_user_errors(wrong):
    with pytest.raises(UserError):
        ClfSpec("test_resnet", **wrong)


@pytest.mark.parametrize("channels", [1, 7])
def test_spec_survives_json(channels):
    spec = ClfSpec("Resnet-18", size=64, in_channels=channels, classes=2, drop=0.25)
    assert ClfSpec.from_dict(spec.to_dict()) == spec
    assert spec.model == "resnet18"
    model = create_clf_model(spec, "none")
    assert model.conv1.in_channels == channels and model.drop_rate == 0.25


def test_batch_norm_has_torchs_momentum_from_scratch():
    model = create_clf_model(ClfSpec("test_efficientnet", 32), "none")
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def save(path, tensors):
    write_tensors(path, tensors)
    return str(path)


def same(model, tensors, names):
    own = model.state_dict()
    return all(torch.equal(own[k], tensors[k]) for k in names)


def body_names(model):
    return [k for k in model.state_dict() if not k.startswith(("fc.", "head."))]


@pytest.mark.parametrize(("classes", "says"), [(5, "with the head"), (1000, "without the head")])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_file_loads_the_body_and_a_fitting_head(tmp_path, caplog, classes, says, suffix):
    torch.manual_seed(1)
    tensors = timm.create_model("test_resnet", num_classes=classes).state_dict()
    path = tmp_path / f"w{suffix}"
    torch.save(tensors, path) if suffix == ".pth" else write_tensors(path, tensors)
    torch.manual_seed(2)
    with caplog.at_level(logging.INFO):
        model = create_clf_model(TINY, str(path))
    assert says in caplog.text
    assert same(model, tensors, body_names(model) + (["fc.weight", "fc.bias"] if classes == 5 else []))


def test_file_of_a_run_with_many_channels_is_loaded_completely(tmp_path):
    spec = ClfSpec("test_resnet", 32, 7)
    first = create_clf_model(spec, "none")
    second = create_clf_model(spec, save(tmp_path / "w.safetensors", first.state_dict()))
    assert same(second, first.state_dict(), first.state_dict())


@pytest.mark.parametrize("classes", [5, 1000])
def test_position_embeddings_of_a_file_are_adapted_to_another_size(tmp_path, classes):
    tensors = timm.create_model("test_vit", num_classes=classes, img_size=64).state_dict()
    model = create_clf_model(ClfSpec("test_vit", 96), save(tmp_path / "w.safetensors", tensors))
    names = [k for k in body_names(model) if k != "pos_embed"]
    assert same(model, tensors, names + (["head.weight"] if classes == 5 else []))
    assert model.pos_embed.shape != tensors["pos_embed"].shape
    assert model(torch.rand(1, 3, 96, 96)).shape == (1, 5)


@pytest.mark.parametrize("channels", [1, 7])
def test_first_convolution_of_a_file_is_adapted(tmp_path, channels):
    tensors = timm.create_model("test_resnet").state_dict()
    model = create_clf_model(ClfSpec("test_resnet", 32, channels), save(tmp_path / "w.safetensors", tensors))
    name = "conv1.0.weight" if "conv1.0.weight" in tensors else "conv1.weight"
    got, file = model.state_dict()[name], tensors[name]
    expected = file.sum(1, keepdim=True) if channels == 1 else file[:, [i % 3 for i in range(7)]] * 3 / 7
    torch.testing.assert_close(got, expected)


def test_file_of_another_network_is_refused(tmp_path):
    path = save(tmp_path / "w.safetensors", timm.create_model("test_vit").state_dict())
    with pytest.raises(UserError, match=r"w\.safetensors has 0 of the \d+ tensors of test_resnet"):
        create_clf_model(TINY, path)


def test_file_of_a_wider_network_is_refused(tmp_path):
    tensors = {k: torch.cat([v, v]) if v.ndim else v for k, v in timm.create_model("test_resnet").state_dict().items()}
    with pytest.raises(UserError, match="does not fit test_resnet at 32 px"):
        create_clf_model(TINY, save(tmp_path / "w.safetensors", tensors))


def test_missing_file_lists_the_known_weights():
    with pytest.raises(
        UserError, match=r"weights=no/such\.pth is neither an existing file.*none, imagenet, advprop, noisy-student"
    ):
        create_clf_model(TINY, "no/such.pth")


@pytest.mark.parametrize(
    ("model", "weights", "file"),
    [
        ("Resnet-18", "imagenet", "timm/resnet18.tv_in1k/model.safetensors"),
        ("test_resnet", "imagenet", "timm/test_resnet.r160_in1k/model.safetensors"),
        ("Efficient-net B0", "advprop", "timm/tf_efficientnet_b0.ap_in1k/model.safetensors"),
        ("dinov3-small", "imagenet", "timm/vit_small_patch16_dinov3.lvd1689m/model.safetensors"),
    ],
)
def test_error_offline_names_the_file_and_three_ways_to_proceed(tmp_path, monkeypatch, model, weights, file):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as error:
        create_clf_model(ClfSpec(model, 64), weights)
    for part in (file, "weights=none", "weights=FILE", "Hugging Face cache (HF_HOME)"):
        assert part in str(error.value)


JOINED = ClfSpec("test_resnet", size=32, in_channels=2, classes=3, measurements=4)


def test_measurements_join_the_features_before_the_head():
    model = create_clf_model(JOINED, "none").eval()
    pictures, measurements = torch.rand(2, 2, 32, 32), torch.rand(2, 4)
    logits = model(pictures, measurements)
    assert logits.shape == (2, 3)
    assert not torch.equal(model(pictures, measurements + 1), logits)
    assert not torch.equal(model(1 - pictures, measurements), logits)
    n_head = len(head_parameters(model))
    assert n_head == 4 and n_head + len(body_parameters(model)) == len(list(model.parameters()))


def test_measurements_are_standardised_by_those_of_training_and_nan_is_the_mean():
    model = create_clf_model(JOINED, "none")
    model.standardise_by(torch.tensor([[1.0, 0.0, 5.0, math.nan], [3.0, 0.0, math.nan, math.nan]]))
    found = model.standardised(torch.tensor([[4.0, 0.0, 5.0, 1.0], [math.nan, 1.0, 1e9, 2.0]]))
    assert found.tolist() == [[2.0, 0.0, 0.0, 0.0], [0.0, 5.0, 5.0, 0.0]]


def test_a_network_with_measurements_starts_from_one_with_or_without(tmp_path):
    plain = create_clf_model(ClfSpec("test_resnet", 32, 2, classes=3), "none")
    joined = create_clf_model(JOINED, save(tmp_path / "plain.safetensors", plain.state_dict()))
    assert torch.equal(joined.picture.conv1[0].weight, plain.conv1[0].weight)
    again = create_clf_model(JOINED, save(tmp_path / "joined.safetensors", joined.state_dict()))
    assert torch.equal(again.picture.conv1[0].weight, plain.conv1[0].weight)
