"""`DaskJobs`: the runs of a grid on the workers of a Dask cluster, one at a time on each."""

import logging
import tempfile
import time
import traceback
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...io.locks import held
from ...training.run_folder import package_versions
from .dask_workers import carry_on_worker, what_it_sees
from .run_spec import DONE, FAILED, LOCKED, RunSpec, is_locked, note_failure, outcome, run_lock, run_state

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

_POLL = 0.5  # seconds between checks
_DEATHS = 3  # deaths of workers in a row, without an epoch of progress, after which a run has failed


@dataclass
class _Sent:
    """A run that was sent to a worker."""

    run: RunSpec
    future: "Future"
    before: int  # its progress when it was sent


@dataclass
class DaskJobs:
    """An executor for `run_grid`: whole runs, each in a process that a Dask worker starts.

    The state of a run is read from its folder and not from the result of the Dask task. A run whose worker dies is
    continued on the next free one; after three deaths in a row without an epoch in between it has failed. Workers may
    join and leave at any time; each is checked before its first run. Runs are sent to free workers and not left to
    Dask's queue, which would give all of them to the first worker.
    """

    client: "Client"
    keep_up: Callable[[], None] = lambda: None  # called at every check: replaces missing workers
    at_work: dict[str, _Sent] = field(default_factory=dict)  # address of a worker -> its run
    _is_waiting: bool = False  # for a usable worker
    _seen: set[str] = field(default_factory=set)
    _refused: set[str] = field(default_factory=set)
    _deaths: Counter[str] = field(default_factory=Counter)

    def __call__(self, runs: Sequence[RunSpec]) -> Iterator[dict[str, Any]]:
        """Yield the `outcome` of each run when it ends.

        Raises `UserError` if none of the workers can be used, or if the scheduler is gone.
        """
        waiting, folder = deque(runs), runs[0].path.parent
        data = sorted({run.options["data"] for run in runs})
        while waiting or self.at_work:
            self.keep_up()
            present = self._present()
            yield from self._ended()
            yield from self._lost(present, waiting)
            for address in self._usable(present, folder, data) - set(self.at_work):
                if waiting and (known := self._send(waiting.popleft(), address)):
                    yield known
            time.sleep(_POLL)

    def _present(self) -> set[str]:
        """Addresses of the present workers."""
        try:
            return set(self.client.nthreads())
        except OSError as e:
            raise UserError(f"the Dask scheduler is gone ({e}): start it again, and repeat the command.") from e

    def _usable(self, present: set[str], folder: Path, data: Sequence[str]) -> set[str]:
        """The workers that see the folders; new ones are checked first. It is logged once if there are none."""
        new = present - self._seen
        self._seen = present
        problems = _problems(self.client, sorted(new), folder, data) if new else {}
        self._refused = (self._refused & present) | set(problems)
        for address, problem in problems.items():
            log.warning("the Dask worker %s is not used: it %s", address, problem)
        usable = present - self._refused
        if problems and not usable and not self.at_work:
            address, problem = next(iter(problems.items()))
            raise UserError(f"the Dask worker {address} {problem}.")
        if not usable and not self._is_waiting:
            log.warning("the cluster has no worker that can be used: waiting for one")
        self._is_waiting = not usable
        return usable

    def _send(self, run: RunSpec, address: str) -> dict[str, Any] | None:
        """Start a run on a worker, or return its outcome if there is nothing to start."""
        if run_state(run.path) in (DONE, FAILED) or is_locked(run.path):
            return _result(run)
        run.path.mkdir(parents=True, exist_ok=True)
        key = f"{run.path.name}-{uuid.uuid4().hex}"  # unique, as Dask may still know the old task
        before = _progress(run)
        future = self.client.submit(carry_on_worker, run.to_dict(), key=key, workers=[address])
        self.at_work[address] = _Sent(run, future, before)
        return None

    def _ended(self) -> Iterator[dict[str, Any]]:
        """Yield the outcomes of the runs whose tasks have ended."""
        for address, sent in list(self.at_work.items()):
            if sent.future.done():
                del self.at_work[address]
                if sent.future.status == "error":
                    _fail(sent.run, "".join(traceback.format_exception(sent.future.exception())))
                yield _result(sent.run)

    def _lost(self, present: set[str], waiting: deque[RunSpec]) -> Iterator[dict[str, Any]]:
        """Put the runs of lost workers at the head of the queue; yield those that have failed by `_DEATHS`."""
        for address in set(self.at_work) - present:
            sent = self.at_work.pop(address)
            run, name = sent.run, sent.run.path.name
            sent.future.cancel()
            self._deaths[name] = 1 if _progress(run) > sent.before else self._deaths[name] + 1
            if self._deaths[name] >= _DEATHS:
                _fail(run, f"{_DEATHS} Dask workers died during the run, the last: {address}\n")
                yield _result(run)
            else:
                log.warning("the Dask worker %s is gone: %s is continued on another one", address, run.label)
                waiting.appendleft(run)


def _problems(client: "Client", workers: list[str], folder: Path, data: Sequence[str]) -> dict[str, str]:
    """Problems of workers, by address, as half-sentences; versions that differ from those here are only logged."""
    ours, problems = package_versions(), {}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".seen-by-workers-") as probe:
        answers = client.run(what_it_sees, probe.name, data, list(ours), workers=workers, on_error="return")
    for address, answer in answers.items():
        if isinstance(answer, str):
            problems[address] = answer
        elif isinstance(answer, Exception) and not isinstance(answer, OSError):  # OSError: the worker has left
            problems[address] = f"cannot load this version of dedl-fastai: {answer!r}"
        elif isinstance(answer, dict) and answer != ours:
            other = ", ".join(f"{p} {v or 'missing'}" for p, v in answer.items() if v != ours.get(p))
            log.warning("the Dask worker %s has other versions than this process: %s", address, other)
    return problems


def _result(run: RunSpec) -> dict[str, Any]:
    """The outcome in the folder of the run; "locked" if it has not ended.

    Then another process works on it, or the file system is slow to show what a worker wrote.
    """
    return outcome(run) if run_state(run.path) in (DONE, FAILED) else outcome(run, LOCKED)


def _fail(run: RunSpec, text: str) -> None:
    with held(run_lock(run.path)) as is_ours:
        if is_ours and run_state(run.path) not in (DONE, FAILED):
            note_failure(run.path, text)


def _progress(run: RunSpec) -> int:
    """Time when the state was saved, which grows with every epoch."""
    resume = run.path / "resume.pt"
    return resume.stat().st_mtime_ns if resume.exists() else 0
