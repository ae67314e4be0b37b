"""`start_worker`: the process that carries out a run of a grid. Imports the standard library alone."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any, cast


def start_worker(run: Mapping[str, Any], log: IO[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start `bench.grid.worker` for a run (`RunSpec.to_dict`); when this process dies, its stdin closes and it ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dedl_fastai.bench.grid.worker"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        text=True,
        env=env,
        start_new_session=True,  # Ctrl-C is for the process that starts it
    )
    stdin = cast(IO[str], process.stdin)  # not None: it is a pipe
    stdin.write(json.dumps(run) + "\n")
    stdin.flush()  # but stay open
    return process
