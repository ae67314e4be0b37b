"""Which device to calculate on."""

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
        raise UserError(f"--device {name!r} is not usable here ({str(e).splitlines()[0]}): use auto or cpu.") from e
    return device
