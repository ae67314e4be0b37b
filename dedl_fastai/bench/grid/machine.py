"""Cores, free memory and GPUs of this machine, and the memory that a run needs."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ...io.files import read_json
from .run_spec import RunSpec

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_BASE_MB = 900  # memory of a process that has imported torch and fastai
_SIZES = ("arch", "encoder", "model", "tile", "size", "bs")  # options that decide how much memory a run needs


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_mb() -> float | None:
    """Return the free memory within the container's limit, in MB; None where it is unknown."""
    limits = []
    with suppress(OSError, ValueError, StopIteration):
        lines = _MEMINFO.read_text().splitlines()
        limits.append(int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]) / 2**10)
    with suppress(OSError, ValueError):
        limit, used = (int((_CGROUP / f"memory.{n}").read_text()) for n in ("max", "current"))
        limits.append((limit - used + _idle_cache()) / 2**20)
    return min(limits, default=None)


def _idle_cache() -> int:
    """Bytes of cached files, which memory.current includes although they are freed when memory is needed."""
    with suppress(OSError, ValueError, StopIteration):
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
        return int(next(x for x in lines if x.startswith("inactive_file ")).split()[1])
    return 0


def gpus() -> list[str]:
    """Names of the GPUs, as in CUDA_VISIBLE_DEVICES."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [g for g in given.split(",") if g.strip()]
    return names or [str(i) for i in range(torch.cuda.device_count())]


def worker_environment(slot: int, jobs: int, spread_gpus: bool) -> dict[str, str]:
    """Environment of the worker in a slot: its share of the threads, and one of the GPUs if there are several."""
    env = {**os.environ, "MPLBACKEND": "Agg"}
    if jobs > 1:
        given = os.environ.get("OMP_NUM_THREADS", "")
        share = max(1, cores() // jobs)
        env["OMP_NUM_THREADS"] = str(min(int(given), share) if given.isdigit() and int(given) else share)
    names = gpus()
    if spread_gpus and len(names) > 1:
        env["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)]
    return env


def estimated_mb(run: RunSpec, finished: Iterable[tuple[dict[str, Any], int]]) -> tuple[float, bool]:
    """Return the peak memory that a run needs, in MB, and whether a finished run of the same sizes measured it.

    Without such a run it is a guess. `finished` holds options and peaks of runs, as returned by `measured_peaks`.
    """
    peaks = [mb for options, mb in finished if _sizes(options) == _sizes(run.options)]
    if peaks:
        return max(peaks), True
    edge = run.options["size" if run.task == "clf" else "tile"]
    per_pixel = 1.5e-3 if run.task == "clf" else 2.5e-3  # MB, for small networks; finished runs give a better value
    return _BASE_MB + run.options["bs"] * edge**2 * per_pixel, False


def measured_peaks(folder: Path) -> list[tuple[dict[str, Any], int]]:
    """Return options and peak memory of the finished runs in a folder."""
    costs = {p.parent: read_json(p).get("peak_mb") for p in sorted(folder.glob("*/cost.json"))}
    return [(read_json(p / "run.json")["options"], mb) for p, mb in costs.items() if mb and (p / "run.json").is_file()]


def _sizes(options: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(options.get(name) for name in _SIZES)
