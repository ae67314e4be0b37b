"""The device to compute on, and the name of the processor."""

import platform
from pathlib import Path

import torch

from ..errors import UserError

_BF16 = {"amx_bf16", "avx512_bf16"}  # instructions, as Linux names them
AMPS = {"fp16": torch.float16, "bf16": torch.bfloat16}  # names of mixed precision


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" takes a GPU if there is one. Raises `UserError` for an unusable device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as e:
        raise UserError(f"device={name!r} is not usable here ({str(e).splitlines()[0]}): use auto or cpu.") from e
    return device


def fastest_amp(device: str | torch.device) -> str:
    """Return the mixed precision in which networks are fastest on a device: bf16 or fp16, or no.

    bf16 on GPUs and processors that compute with it (for processors as far as Linux tells: AMX, AVX512-BF16), fp16 on
    other NVIDIA GPUs.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if kind == "cpu" and _BF16 & set(_cpu_fact("flags").split()) else "no"


def cpu_name() -> str:
    """Return the processor's name as the system reports it, or "CPU" if it reports none."""
    return _cpu_fact("model name") or platform.processor() or "CPU"


def _cpu_fact(name: str) -> str:
    """What Linux says of the first processor; empty on other systems."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
