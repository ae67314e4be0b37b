"""Weights from a file: safetensors or .pth, of an encoder or a whole network; refused files, and errors offline."""

import logging

import pytest
import torch
from segmentation_models_pytorch.encoders import get_encoder

from dedl_fastai.errors import UserError
from dedl_fastai.models.segmentation import SegSpec, create_seg_model
from dedl_fastai.models.weights import load_encoder_weights, read_tensors, write_tensors

TINY = SegSpec("unet", "tu-test_resnet", in_channels=3)
RESNET = SegSpec("unet", "resnet18", in_channels=3)


class Unknown:
    """An object in a pickle that is not a tensor."""


def save(path, tensors):
    if path.suffix == ".safetensors":
        write_tensors(path, tensors)
    else:
        torch.save(tensors, path)
    return path


def same(model, tensors, prefix=""):
    """True if the model and `tensors` share names, and all tensors of these names are equal."""
    shared = {k: v for k, v in model.state_dict().items() if k.removeprefix(prefix) in tensors}
    return bool(shared) and all(torch.equal(v, tensors[k.removeprefix(prefix)]) for k, v in shared.items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_tensors_are_read_as_they_were_written(tmp_path, suffix):
    tensors = {"a": torch.randn(2, 3), "b.c": torch.arange(4)}
    back = read_tensors(save(tmp_path / f"w{suffix}", tensors))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[k], v) for k, v in tensors.items())


def test_writing_tensors_leaves_no_other_file(tmp_path):
    write_tensors(tmp_path / "w.safetensors", {"a": torch.ones(2, 2).t()})
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_checkpoint_is_unpacked(tmp_path, key):
    torch.save({key: {"a": torch.ones(2)}, "epoch": 3}, tmp_path / "w.pth")
    assert list(read_tensors(tmp_path / "w.pth")) == ["a"]


def test_pickle_of_more_than_weights_is_refused(tmp_path):
    torch.save({"a": torch.ones(2), "b": Unknown()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth is a pickle of more than weights.*state_dict"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("value", [{}, {"epoch": 3}, [1, 2], torch.ones(2)])
def test_file_without_named_tensors_is_refused(tmp_path, value):
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth holds no tensors"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("keep", [0, 1, 40, -20])
def test_truncated_file_is_a_user_error(tmp_path, suffix, keep):
    path = save(tmp_path / f"w{suffix}", {"a": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"copy it again|is empty|more than weights"):
        read_tensors(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_any_changed_byte_is_a_user_error_or_harmless(tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    data, refused = (tmp_path / "w.pth").read_bytes(), 0
    for i in range(len(data)):
        (tmp_path / "w.pth").write_bytes(data[:i] + bytes([data[i] ^ 0x15]) + data[i + 1 :])
        try:
            read_tensors(tmp_path / "w.pth")
        except UserError:
            refused += 1
    assert refused > len(data) / 4


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_encoder_weights_of_smp_load(tmp_path, suffix):
    torch.manual_seed(1)
    tensors = get_encoder("resnet18", weights=None).state_dict()
    model = create_seg_model(RESNET, str(save(tmp_path / f"w{suffix}", tensors)), tile=32)
    assert same(model, tensors, "encoder.")


def test_encoder_weights_of_timm_load_into_a_timm_encoder(tmp_path):
    import timm

    tensors = timm.create_model("test_resnet").state_dict()
    model = create_seg_model(TINY, str(save(tmp_path / "w.safetensors", tensors)), tile=32)
    assert same(model, tensors, "encoder.model.")


def test_encoder_weights_below_encoder_load(tmp_path):
    tensors = {k: v for k, v in create_seg_model(TINY, tile=32).state_dict().items() if k.startswith("encoder.")}
    model = create_seg_model(TINY, str(save(tmp_path / "w.pth", tensors)), tile=32)
    assert same(model, tensors)


def test_whole_network_loads_decoder_and_head_too(tmp_path):
    first = create_seg_model(TINY, tile=32).eval()
    second = create_seg_model(TINY, str(save(tmp_path / "w.safetensors", first.state_dict())), tile=32).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(first(x), second(x))


def test_network_with_other_classes_provides_its_encoder(tmp_path, caplog):
    other = create_seg_model(SegSpec("unet", "tu-test_resnet", in_channels=3, classes=5), tile=32).state_dict()
    with caplog.at_level(logging.INFO):
        model = create_seg_model(TINY, str(save(tmp_path / "w.safetensors", other)), tile=32)
    encoder = {k: v for k, v in other.items() if k.startswith("encoder.")}
    assert same(model, encoder)
    assert f"{len(encoder)} of {len(encoder)} tensors of the encoder loaded" in caplog.text


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_first_convolution_of_a_file_is_adapted_as_smp_does(tmp_path, channels):
    encoder = get_encoder("resnet18", weights=None)
    path = save(tmp_path / "w.safetensors", encoder.state_dict())
    encoder.set_in_channels(channels, pretrained=True)
    model = create_seg_model(SegSpec("unet", "resnet18", in_channels=channels), str(path), tile=32)
    assert torch.allclose(model.encoder.conv1.weight, encoder.conv1.weight)


def test_weights_of_another_network_are_refused(tmp_path):
    path = save(tmp_path / "w.pth", get_encoder("efficientnet-b0", weights=None).state_dict())
    with pytest.raises(UserError, match=r"w\.pth fits 0 of the \d+ tensors of the encoder"):
        load_encoder_weights(create_seg_model(TINY, tile=32), path)


def test_missing_file_lists_the_known_weights():
    with pytest.raises(
        UserError, match=r"weights=no/such\.pth is neither an existing file.*none, imagenet, advprop, noisy-student"
    ):
        create_seg_model(TINY, "no/such.pth", tile=32)


@pytest.mark.parametrize(
    ("encoder", "weights", "file"),
    [
        ("resnet18", "imagenet", "smp-hub/resnet18.imagenet/model.safetensors"),
        ("tu-test_resnet", "imagenet", "timm/test_resnet.r160_in1k/model.safetensors"),
        ("efficientnet-b0", "noisy-student", "timm/tf_efficientnet_b0.ns_jft_in1k/model.safetensors"),
    ],
)
def test_error_offline_names_the_file_and_the_ways_to_proceed(tmp_path, monkeypatch, encoder, weights, file):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as error:
        create_seg_model(SegSpec("unet", encoder), weights, tile=32)
    for part in (file, "weights=none", "weights=packaged", "weights=FILE", "Hugging Face cache (HF_HOME)"):
        assert part in str(error.value)


def test_error_of_the_network_itself_is_not_a_download_error():
    """Nothing is downloaded for weights=none, so the message does not mention a download."""
    with pytest.raises(UserError) as error:
        create_seg_model(SegSpec("dpt", "resnet18"), "none", tile=32)
    assert "are unavailable" not in str(error.value)
