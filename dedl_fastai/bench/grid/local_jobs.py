"""`LocalJobs`: runs in processes on this machine, several at once; a crash of one does not end the others."""

import logging
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...io.locks import held
from .machine import available_mb, estimated_mb, measured_peaks, worker_environment
from .run_spec import DONE, FAILED, LOCKED, RunSpec, is_locked, note_failure, outcome, run_lock, run_state
from .worker import LOCKED_EXIT
from .worker_process import start_worker

log = logging.getLogger(__name__)

_POLL, _PATIENCE = 0.1, 10.0  # seconds between checks, and until a process that should end is killed
_Process = subprocess.Popen[str]


@dataclass
class LocalJobs:
    """An executor for `run_grid`: every run has a fresh process, so that its peak memory can be measured.

    With several jobs the threads are divided among them and the GPUs are assigned in turn. Closing the generator
    (Ctrl-C) ends the processes; their runs can be resumed.
    """

    jobs: int = 1

    def __call__(self, runs: Sequence[RunSpec]) -> Iterator[dict[str, Any]]:
        """Yield the `outcome` of each run when it ends."""
        waiting, slots = deque(runs), 0
        running: dict[int, tuple[RunSpec, _Process]] = {}
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
    """Return `jobs`, or the number that fits into the free memory; a lower number is logged."""
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
    """The outcome of a run that needs no process."""
    if run_state(run.path) in (DONE, FAILED):
        return outcome(run)
    return outcome(run, LOCKED) if is_locked(run.path) else None


def _start(run: RunSpec, slot: int, slots: int) -> _Process:
    run.path.mkdir(parents=True, exist_ok=True)
    spread = run.options["device"] in ("auto", "cuda")
    with run.log.open("a", encoding="utf-8") as f:
        return start_worker(run.to_dict(), f, worker_environment(slot, slots, spread))


def _finished(run: RunSpec, code: int) -> dict[str, Any]:
    if code == LOCKED_EXIT:
        return outcome(run, LOCKED)
    with held(run_lock(run.path)) as is_ours:
        if is_ours and run_state(run.path) not in (DONE, FAILED):
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            hint = " (out of memory?)" if code == -9 else ""
            note_failure(run.path, f"the process of the run died with {how}{hint}\n")
    return outcome(run) if is_ours else outcome(run, LOCKED)


def _end(processes: Sequence[_Process]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
