"""`LocalJobs`: runs in processes on this machine, several at once; one that crashes does not end the others."""

import json
import logging
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .locks import held
from .machine import available_mb, estimated_mb, measured_peaks, worker_environment
from .run_spec import DONE, FAILED, LOCKED, RunSpec, is_locked, note_failure, outcome, run_lock, run_state
from .worker import LOCKED_EXIT

log = logging.getLogger(__name__)

_POLL, _PATIENCE = 0.1, 10.0  # seconds between looks, and until a process that should end is killed


@dataclass
class LocalJobs:
    """An executor of `run_grid`: every run in a fresh process, so that its peak memory is its own.

    With several jobs the threads are divided among them and GPUs dealt out in turn. Closing the generator (Ctrl-C)
    ends the processes; their runs can be resumed.
    """

    jobs: int = 1

    def __call__(self, runs: Sequence[RunSpec]) -> Iterator[dict[str, Any]]:
        """Yield the `outcome` of each run as it comes."""
        waiting, running, slots = deque(runs), {}, 0
        try:
            while waiting or running:
                while waiting and (not slots or len(running) < slots):
                    run = waiting.popleft()
                    if known := _known(run):
                        yield known
                        continue
                    slots = slots or jobs_that_fit(self.jobs, runs)
                    slot = min(set(range(slots)) - set(running))
                    running[slot] = run, _start(run, slot, slots)
                time.sleep(_POLL)
                for slot, (run, process) in list(running.items()):
                    if process.poll() is not None:
                        del running[slot]
                        yield _finished(run, process.returncode)
        finally:
            _end([process for _, process in running.values()])


def jobs_that_fit(jobs: int, runs: Sequence[RunSpec]) -> int:
    """`jobs`, or as many as the free memory holds; that it was lowered is logged."""
    free = available_mb()
    if jobs <= 1 or not runs or free is None:
        return max(1, jobs)
    peaks = measured_peaks(runs[0].path.parent)
    need, is_measured = max(estimated_mb(run, peaks) for run in runs)
    fitting = max(1, int(free // need))
    if fitting < jobs:
        how = "measured" if is_measured else "a coarse estimate"
        log.warning("%d jobs of %.0f MB (%s) do not fit into %.0f MB: %d are run", jobs, need, how, free, fitting)
    return min(jobs, fitting)


def _known(run: RunSpec) -> dict[str, Any] | None:
    """The outcome of a run that no process needs to be started for."""
    if run_state(run.path) in (DONE, FAILED):
        return outcome(run)
    return outcome(run, LOCKED) if is_locked(run.path) else None


def _start(run: RunSpec, slot: int, slots: int) -> subprocess.Popen:
    run.path.mkdir(parents=True, exist_ok=True)
    spread = run.options["device"] in ("auto", "cuda")
    with run.log.open("a", encoding="utf-8") as f:
        process = subprocess.Popen(
            [sys.executable, "-m", "dedl_fastai.bench.grid.worker"],
            stdin=subprocess.PIPE,
            stdout=f,
            stderr=f,
            text=True,
            env=worker_environment(slot, slots, spread),
            start_new_session=True,  # Ctrl-C is for the grid, which then ends its processes
        )
    process.stdin.write(json.dumps(run.to_dict()) + "\n")
    process.stdin.flush()  # and left open: when it closes, the grid is gone
    return process


def _finished(run: RunSpec, code: int) -> dict[str, Any]:
    if code == LOCKED_EXIT:
        return outcome(run, LOCKED)
    with held(run_lock(run.path)) as is_ours:
        if is_ours and run_state(run.path) not in (DONE, FAILED):
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            hint = " (out of memory?)" if code == -9 else ""
            note_failure(run.path, f"the process of the run died with {how}{hint}\n")
    return outcome(run) if is_ours else outcome(run, LOCKED)


def _end(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
