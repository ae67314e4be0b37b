"""Options of runs that take about a second: a tiny network on the tiny cohort."""

from pathlib import Path
from typing import Any

NETWORK = {"encoder": "tu-test_resnet", "depth": 2, "decoder": "16,16"}
PLAIN = {"weights": "none", "head": "mask", "augment": "paper", "dihedral": True, "schedule": "cosine"}
TINY = {"preset": "demo", "split": "paper", "tile": 32, "bs": 8, "epochs": 4, "lr": 2e-3, "lr_min": 1e-4}
TINY |= NETWORK | PLAIN
TINY_CLF = {"preset": "demo", "model": "test_resnet", "size": 32, "bs": 8, "epochs": 3, "lr_min": 1e-4}


def as_flags(options: dict[str, Any]) -> list[str]:
    """Return the options as command-line flags."""
    flags: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        flags += ([flag] if value else [f"--no-{flag[2:]}"]) if isinstance(value, bool) else [flag, str(value)]
    return flags


def tiny_flags(data: Path, out: Path, **changes: Any) -> list[str]:
    """Return the arguments of `seg` with the tiny options."""
    return ["seg", *as_flags({**TINY, "data": data, "out": out, **changes})]
