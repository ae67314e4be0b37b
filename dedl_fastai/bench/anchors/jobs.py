"""`run_peer`: run a tool's script in a process of its own, and return its labels and its times."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .fields import TrueField

_SCRIPTS = Path(__file__).parent / "peers"
MODULES = {p: p for p in ("stardist", "cellpose", "instanseg", "deepflash2")}  # peer -> what it imports

_ERROR = re.compile(r"[\w.]*(Error|Exception|Exit)\b")


@dataclass(frozen=True)
class PeerResult:
    """Labels of the test fields, and what result.json says; `why_not` where the tool did not run."""

    labels: Sequence[np.ndarray] = ()
    about: Mapping[str, Any] | None = None
    why_not: str = ""


def run_peer(
    peer: str,  # one of `MODULES`; own for a run of ours
    folder: Path,  # empty, for the arrays
    test: Sequence[TrueField],
    train: Sequence[TrueField] = (),  # with `valid`: the tool is trained on them from scratch
    valid: Sequence[TrueField] = (),
    epochs: int = 0,  # of that training; 0: the tool's default
    python: str = sys.executable,  # that has the tool installed
    threads: int = 2,
    **settings: Any,  # of our own run: run, tta, scale
) -> PeerResult:
    """Give the fields to the script of a tool and wait for its labels; a tool that is not installed has a reason."""
    if peer in MODULES and not _has(python, MODULES[peer]):
        return PeerResult(why_not=f"{peer} is not installed in {python}")
    for part, fields in (("test", test), ("train", train), ("valid", valid)):
        (folder / part).mkdir(parents=True)
        for i, field in enumerate(fields):
            np.save(folder / part / f"{i}.npy", field.pixels)
            if part != "test":
                np.save(folder / part / f"{i}_ids.npy", field.ids)
    sizes = {"test": len(test), "train": len(train), "valid": len(valid)}
    pixel_sizes = [field.pixel_size_um for field in test]
    (folder / "job.json").write_text(json.dumps({**sizes, "pixel_sizes": pixel_sizes, "epochs": epochs, **settings}))
    done = subprocess.run(
        [python, str(_SCRIPTS / f"{peer}_peer.py"), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return PeerResult(why_not=_reason(done.stderr or done.stdout) or f"it ended with {done.returncode}")
    about = json.loads((folder / "result.json").read_text())
    labels = [np.load(folder / "test" / f"{i}_labels.npy") for i in range(len(test))]
    return PeerResult(labels, about)


def _reason(output: str) -> str:
    """The last error of a tool's output, else its last line; libraries log after the traceback too."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or [""])[-1]


def _has(python: str, module: str) -> bool:
    try:
        found = subprocess.run([python, "-c", f"import {module}"], capture_output=True)
    except OSError as e:
        raise UserError(f"{python} cannot be started ({e.strerror}): give the Python of the tool.") from e
    return found.returncode == 0
