"""The device and its fastest mixed precision."""

import pytest
import torch

from dedl_fastai.models import device
from dedl_fastai.models.device import cpu_name, fastest_amp


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse2 avx512f", "no"),
        ("fpu avx512_bf16 sse2", "bf16"),
        ("amx_tile amx_bf16", "bf16"),
        ("xamx_bf16", "no"),
        ("", "no"),
    ],
)
def test_a_processor_trains_in_bf16_if_it_has_the_instructions(monkeypatch, flags, expected):
    monkeypatch.setattr(device, "_cpu_fact", lambda name: {"flags": flags}[name])
    assert fastest_amp("cpu") == fastest_amp(torch.device("cpu")) == expected


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_trains_in_bf16_or_else_in_fp16(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert fastest_amp("cuda:0") == expected
    assert fastest_amp("mps") == "no"


def test_the_name_of_the_processor_is_one_line():
    assert cpu_name() and "\n" not in cpu_name()
