"""The device to compute on, and the name of the processor."""

import platform
from pathlib import Path

import torch

from ..errors import UserError

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


def cpu_name() -> str:
    """Return the processor's name as the system reports it, or "CPU" if it reports none."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names[0] if names else platform.processor()) or "CPU"
