"""Published weights, downloaded by a separate process from a small server on this machine (HF_ENDPOINT)."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from segmentation_models_pytorch.encoders import get_encoder

from ..hub import Hub, serving

FETCH = """
import sys
from safetensors.torch import save_file
from dedl_fastai.models.segmentation import SegSpec, create_seg_model
encoder, channels, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
model = create_seg_model(SegSpec("unet", encoder, in_channels=channels), "imagenet", tile=32)
save_file({k: v.contiguous() for k, v in model.encoder.state_dict().items()}, out)
"""


@pytest.fixture
def hub(tmp_path):
    with serving(Hub, tmp_path / "hub") as handler:
        yield handler


@pytest.fixture
def fetch(hub, tmp_path):
    """Build a network with weights from the hub in a separate process and cache; return its result and encoder."""

    def run(encoder: str, channels: int, offline: bool = False):
        settings = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": "1" if offline else "0",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        env = {k: v for k, v in os.environ.items() if k != "HF_HUB_CACHE"} | settings
        out = tmp_path / "encoder.safetensors"
        command = [sys.executable, "-c", FETCH, encoder, str(channels), str(out)]
        result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)
        return result, load_file(out) if result.returncode == 0 else {}

    return run


def publish(hub, repository: str, tensors: dict[str, torch.Tensor]) -> None:
    folder = hub.root / repository
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")


def test_smp_encoder_holds_the_served_weights_summed_for_one_channel(hub, fetch):
    served = get_encoder("resnet18", weights=None).state_dict()
    publish(hub, "smp-hub/resnet18.imagenet", served)
    result, got = fetch("resnet18", 1)
    assert result.returncode == 0, result.stderr
    assert torch.equal(got.pop("conv1.weight"), served["conv1.weight"].sum(1, keepdim=True))
    assert len(got) > 30
    assert all(torch.equal(v, served[k]) for k, v in got.items())


def test_timm_encoder_holds_the_served_weights_and_is_built_offline_from_its_cache(hub, fetch):
    import timm

    served = timm.create_model("test_resnet").state_dict()
    publish(hub, "timm/test_resnet.r160_in1k", served)
    result, got = fetch("tu-test_resnet", 3)
    assert result.returncode == 0, result.stderr
    assert len(got) > 10
    assert all(torch.equal(v, served[k.removeprefix("model.")]) for k, v in got.items())

    requests = len(hub.served)
    again, cached = fetch("tu-test_resnet", 3, offline=True)
    assert again.returncode == 0, again.stderr
    assert len(hub.served) == requests > 0
    assert all(torch.equal(cached[k], v) for k, v in got.items())


def test_error_for_a_file_missing_on_the_server_names_it_and_the_ways_to_proceed(hub, fetch):
    result, _ = fetch("tu-test_resnet", 1)
    assert "UserError: the pretrained weights timm/test_resnet.r160_in1k/model.safetensors" in result.stderr
    assert "weights=none" in result.stderr
