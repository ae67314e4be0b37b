"""Which device to calculate on, and what the processor is called."""

import platform
from pathlib import Path

import torch

from ..errors import UserError


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes a GPU if there is one. `UserError` if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as e:
        raise UserError(f"device={name!r} is not usable here ({str(e).splitlines()[0]}): use auto or cpu.") from e
    return device


def cpu_name() -> str:
    """The processor's name as the system tells it; "CPU" where it does not."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names[0] if names else platform.processor()) or "CPU"
