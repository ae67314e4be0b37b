"""`FieldsOnCluster`: steps with the fields of a prediction on the workers of a Dask cluster, a field on each."""

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..cluster.on_worker import KEPT, WHOLE_WORKER, forget, n_threads
from ..cluster.workers import Task, Workers, WorkersDiedError
from ..models.names import NUCLEI
from ..phenotypes.rules import PRESETS
from .field_predictor import FieldPredictor, FieldResult, FieldTask, ScaleTask, Work

Item = TypeVar("Item", FieldTask, ScaleTask)


@contextmanager
def fields_on_cluster(work: Work, workers: Workers, images: Iterable[Path]) -> Iterator["FieldsOnCluster"]:
    """Yield `FieldsOnCluster`; the workers release the models at the end."""
    try:
        yield FieldsOnCluster(work, workers, images)
    finally:
        with suppress(OSError):  # the scheduler may be gone
            workers.client.run(forget, on_error="ignore")


class FieldsOnCluster:
    """Takes steps with fields on workers, which share a file system with this machine and write the results.

    A field whose worker dies is begun again on another one; after three deaths in a row it is left out.
    """

    def __init__(self, work: Work, workers: Workers, images: Iterable[Path]):
        self.work, self.workers = _anywhere(work), workers
        self.needs = sorted({*_files(self.work), *(str(image.parent) for image in images)})

    def __call__(
        self, step: Callable[[FieldPredictor, Item], Any], tasks: Sequence[Item]
    ) -> Generator[Any, None, None]:
        """Yield `step(predictor, task)` for each task, in their order; an error is raised when its turn comes."""
        sent = [Task(t.name, str(t.image), step_on_worker, (self.work, step, t)) for t in tasks]
        ended = {}
        events = self.workers.carry_out(sent, self.work.out, self.needs)
        for task in tasks:
            while task.name not in ended:
                event = next(events)
                ended[event.name] = event
            error = ended[task.name].error
            if isinstance(error, WorkersDiedError) and isinstance(task, FieldTask):
                yield FieldResult(left_out=f"{task.image}: {error}.")
            elif error is not None:
                raise error
            else:
                yield ended.pop(task.name).value


def _anywhere(work: Work) -> Work:
    """The same work, with paths and kinds of files that do not depend on the folder and the packages of a process."""
    options = work.options
    return dataclasses.replace(
        work,
        runs=tuple(run if run == NUCLEI else _absolute(run) for run in work.runs),
        out=work.out.absolute(),
        options=dataclasses.replace(
            options,
            write=",".join(options.kinds),
            rules=options.rules if options.rules in PRESETS else _absolute(options.rules),
            cell_types=_absolute(options.cell_types),
        ),
    )


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path else ""


def _files(work: Work) -> list[str]:
    given = [*work.runs, work.options.rules, work.options.cell_types]
    return [path for path in given if Path(path).is_absolute()]  # others are names of what comes with the package


def step_on_worker(work: Work, step: Callable[[FieldPredictor, Item], Any], task: Item) -> Any:
    """Take a step with a field on the worker that this is, with all of its threads.

    The models stay in memory for the next field of the same prediction.
    """
    with WHOLE_WORKER:
        torch.set_num_threads(n_threads())
        of_work, predictor = KEPT.get("prediction", (None, None))
        if of_work != work:
            KEPT.clear()
            predictor = FieldPredictor(work)
            KEPT["prediction"] = work, predictor
        return step(predictor, task)
