"""`DaskJobs`: the runs of a grid on the workers of a Dask cluster, one at a time on each."""

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...cluster.workers import Task, Workers, WorkersDiedError
from ...io.locks import held
from .dask_workers import carry_on_worker
from .run_spec import DONE, FAILED, LOCKED, RunSpec, is_locked, note_failure, outcome, run_lock, run_state


@dataclass
class DaskJobs:
    """An executor for `run_grid`: whole runs, each in a process that a Dask worker starts.

    The state of a run is read from its folder and not from the result of the Dask task. A run whose worker dies is
    continued on the next free one; after three deaths in a row without an epoch in between it has failed.
    """

    workers: Workers

    def __call__(self, runs: Sequence[RunSpec]) -> Iterator[dict[str, Any]]:
        """Yield the `outcome` of each run when it ends.

        Raises `UserError` if none of the workers can be used, or if the scheduler is gone.
        """
        by_name = {run.path.name: run for run in runs}
        tasks = [_RunTask(name, run.label, carry_on_worker, (run.to_dict(),)) for name, run in by_name.items()]
        data = sorted({run.options["data"] for run in runs})
        for ended in self.workers.carry_out(tasks, runs[0].path.parent, data):
            run = by_name[ended.name]
            if ended.error is not None:
                died = isinstance(ended.error, WorkersDiedError)
                _fail(run, f"{ended.error}\n" if died else "".join(traceback.format_exception(ended.error)))
            yield _result(run)


class _RunTask(Task):
    """A run that continues after its last epoch, unless it has ended already or another process works on it."""

    @property
    def _run(self) -> RunSpec:
        return RunSpec(**self.arguments[0])

    def is_needed(self) -> bool:
        path = self._run.path
        if run_state(path) in (DONE, FAILED) or is_locked(path):
            return False
        path.mkdir(parents=True, exist_ok=True)
        return True

    def progress(self) -> int:
        """Time when the state was saved, which grows with every epoch."""
        resume = self._run.path / "resume.pt"
        return resume.stat().st_mtime_ns if resume.exists() else 0


def _result(run: RunSpec) -> dict[str, Any]:
    """The outcome in the folder of the run; "locked" if it has not ended.

    Then another process works on it, or the file system is slow to show what a worker wrote.
    """
    return outcome(run) if run_state(run.path) in (DONE, FAILED) else outcome(run, LOCKED)


def _fail(run: RunSpec, text: str) -> None:
    with held(run_lock(run.path)) as is_ours:
        if is_ours and run_state(run.path) not in (DONE, FAILED):
            note_failure(run.path, text)
