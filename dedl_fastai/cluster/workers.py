"""`Workers`: tasks for the workers of a Dask cluster, one at a time on each; a task outlives its worker."""

import logging
import tempfile
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..training.run_folder import package_versions
from .on_worker import what_it_sees

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

_POLL, _GLANCE = 0.5, 0.02  # seconds between looks at the workers, and at the tasks
_FETCH = 60  # seconds for the value of a task to come from its worker
_DEATHS = 3  # of workers in a row, without progress, after which a task has failed


class WorkersDiedError(UserError):
    """Several workers in a row died of a task."""


@dataclass(frozen=True)
class Task:
    """A call of a function that a worker can import."""

    name: str  # no other task has it
    label: str  # for messages
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def is_needed(self) -> bool:
        """Prepare the task, just before it is sent; False if there is nothing to do."""
        return True

    def progress(self) -> int:
        """Return a number that grows while the task makes progress that is not lost with its worker."""
        return 0


@dataclass(frozen=True)
class Ended:
    """A task that has ended, with its value or its error; neither if it was not needed."""

    name: str
    value: Any = None
    error: BaseException | None = None


@dataclass
class _Sent:
    task: Task
    future: "Future"
    before: int  # its progress when it was sent


@dataclass
class Workers:
    """The workers of a cluster. They may join and leave at any time; each is checked before its first task.

    A task whose worker dies is given to the next free one; after three deaths in a row without progress it has failed.
    Tasks are sent to free workers and not left to Dask's queue, which would give all of them to the first worker.
    """

    client: "Client"
    keep_up: Callable[[], None] = lambda: None  # called at every look: replaces missing workers
    at_work: dict[str, _Sent] = field(default_factory=dict)  # address of a worker -> its task
    _is_waiting: bool = False  # for a usable worker
    _seen: set[str] = field(default_factory=set)
    _refused: set[str] = field(default_factory=set)
    _deaths: Counter[str] = field(default_factory=Counter)

    def carry_out(self, tasks: Sequence[Task], folder: Path, needs: Sequence[str]) -> Iterator[Ended]:
        """Yield each task when it ends. Workers must see what the tasks need, and be able to write to the folder.

        Raises `UserError` if none of the workers can be used, or if the scheduler is gone.
        """
        waiting = deque(tasks)
        while waiting or self.at_work:
            self.keep_up()
            present = self._present()
            yield from self._ended(waiting)
            yield from self._lost(present, waiting)
            for address in self._usable(present, folder, needs) - set(self.at_work):
                while waiting and address not in self.at_work:
                    task = waiting.popleft()
                    if task.is_needed():
                        self._send(task, address)
                    else:
                        yield Ended(task.name)
            self._wait()

    def _present(self) -> set[str]:
        """Addresses of the present workers."""
        try:
            return set(self.client.nthreads())
        except OSError as e:
            raise UserError(f"the Dask scheduler is gone ({e}): start it again, and repeat the command.") from e

    def _usable(self, present: set[str], folder: Path, needs: Sequence[str]) -> set[str]:
        """The workers that see the folders; new ones are checked first. It is logged once if there are none."""
        new = present - self._seen
        self._seen = present
        problems = _problems(self.client, sorted(new), folder, needs) if new else {}
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

    def _send(self, task: Task, address: str) -> None:
        key = f"{task.name}-{uuid.uuid4().hex}"  # unique, as Dask may still know the old task
        before = task.progress()
        future = self.client.submit(task.function, *task.arguments, key=key, workers=[address])
        self.at_work[address] = _Sent(task, future, before)

    def _wait(self) -> None:
        """Wait until a task has ended, or until it is time to look at the workers again."""
        end = time.monotonic() + _POLL
        while time.monotonic() < end and not any(sent.future.done() for sent in self.at_work.values()):
            time.sleep(_GLANCE)

    def _ended(self, waiting: deque[Task]) -> Iterator[Ended]:
        """Yield the tasks that have ended; one whose value was lost, with its worker or the scheduler, waits again."""
        from distributed import TimeoutError  # Python 3.10 has two

        for address, sent in list(self.at_work.items()):
            if sent.future.done():
                del self.at_work[address]
                if sent.future.status == "error":
                    yield Ended(sent.task.name, error=sent.future.exception())
                    continue
                try:
                    value = sent.future.result(timeout=_FETCH)
                    del self._deaths[sent.task.name]
                    yield Ended(sent.task.name, value)
                except (TimeoutError, CancelledError):
                    waiting.appendleft(sent.task)

    def _lost(self, present: set[str], waiting: deque[Task]) -> Iterator[Ended]:
        """Put the tasks of lost workers at the head of the queue; yield those that have failed by `_DEATHS`."""
        for address in set(self.at_work) - present:
            sent = self.at_work.pop(address)
            task, name = sent.task, sent.task.name
            sent.future.cancel()
            self._deaths[name] = 1 if task.progress() > sent.before else self._deaths[name] + 1
            if self._deaths[name] >= _DEATHS:
                yield Ended(
                    name,
                    error=WorkersDiedError(f"{_DEATHS} Dask workers died while they worked on it, the last: {address}"),
                )
            else:
                log.warning("the Dask worker %s is gone: %s is continued on another one", address, task.label)
                waiting.appendleft(task)


def _problems(client: "Client", workers: list[str], folder: Path, needs: Sequence[str]) -> dict[str, str]:
    """Problems of workers, by address, as half-sentences; versions that differ from those here are only logged."""
    ours, problems = package_versions(), {}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".seen-by-workers-") as probe:
        answers = client.run(what_it_sees, probe.name, needs, list(ours), workers=workers, on_error="return")
    for address, answer in answers.items():
        if isinstance(answer, str):
            problems[address] = answer
        elif isinstance(answer, Exception) and not isinstance(answer, OSError):  # OSError: the worker has left
            problems[address] = f"cannot load this version of dedl-fastai: {answer!r}"
        elif isinstance(answer, dict) and answer != ours:
            other = ", ".join(f"{p} {v or 'missing'}" for p, v in answer.items() if v != ours.get(p))
            log.warning("the Dask worker %s has other versions than this process: %s", address, other)
    return problems
