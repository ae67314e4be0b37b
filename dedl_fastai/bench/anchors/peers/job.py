"""`Job`: the fields that a peer's script gets, and the labels, times and versions that it gives back.

The folder of a job has job.json, test/0.npy ... (float32 pixels of one channel), and for a training train/0.npy and
train/0_ids.npy (int32). The script adds test/0_labels.npy (int32) and result.json.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


class Job:
    """A folder with the fields and the settings of a peer."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.settings: dict[str, Any] = json.loads((self.folder / "job.json").read_text())
        self.result: dict[str, Any] = {}

    @property
    def trains(self) -> bool:
        """Whether the tool is trained from scratch, rather than used with its published weights."""
        return bool(self.settings["train"])

    @property
    def epochs(self) -> int | None:
        """Epochs of the training; None: the tool's default."""
        return self.settings["epochs"] or None

    @property
    def pixel_sizes(self) -> list[float | None]:
        """The pixel sizes of the test fields in um; None where the file has none."""
        return self.settings["pixel_sizes"]

    def images(self, part: str = "test") -> list[np.ndarray]:
        """The pixels of a part (test, train, valid), float32 (H, W)."""
        return [np.load(self.folder / part / f"{i}.npy") for i in range(self.settings[part])]

    def ids(self, part: str = "train") -> list[np.ndarray]:
        """The ids of the nuclei of a part, int32 (H, W)."""
        return [np.load(self.folder / part / f"{i}_ids.npy") for i in range(self.settings[part])]

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the seconds of a block to the result: `what`_seconds, and `what`_cpu_seconds of all threads."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        for name, value in (("seconds", time.perf_counter() - wall), ("cpu_seconds", time.process_time() - cpu)):
            self.result[f"{what}_{name}"] = round(value, 3)

    def finish(self, labels: Sequence[np.ndarray], version: str, weights: str, licence: str) -> None:
        """Write the labels of the test fields, and what the table says of the tool."""
        for i, found in enumerate(labels):
            np.save(self.folder / "test" / f"{i}_labels.npy", np.asarray(found, dtype=np.int32))
        about = {"version": version, "weights": weights, "licence": licence, "peak_mb": _peak_mb()}
        (self.folder / "result.json").write_text(json.dumps({**self.result, **about}))


def _peak_mb() -> float:
    """The largest resident memory of this process, in MB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def threads() -> int:
    """The number of threads that a tool may use."""
    return int(os.environ["OMP_NUM_THREADS"])


def job_of_arguments() -> Job:
    """The job whose folder is the argument of the script."""
    return Job(sys.argv[1])
