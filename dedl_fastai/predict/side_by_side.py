"""`FieldsHere`: steps with the fields of a prediction on this machine, several fields at a time, by threads."""

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from .field_predictor import FieldPredictor, Progress, Work

Item = TypeVar("Item")
Found = TypeVar("Found")


class FieldsHere:
    """Takes steps with fields, `jobs` of them at a time. Problems with the models appear when it is made."""

    def __init__(self, work: Work, progress: Progress | None):
        self.jobs, self.predictor = work.options.jobs, FieldPredictor(work, progress)

    def __call__(
        self, step: Callable[[FieldPredictor, Item], Found], tasks: Sequence[Item]
    ) -> Generator[Found, None, None]:
        """Yield `step(predictor, task)` for each task, in their order."""
        return side_by_side(partial(step, self.predictor), tasks, self.jobs)


def side_by_side(function: Callable[[Item], Found], items: Iterable[Item], jobs: int) -> Generator[Found, None, None]:
    """Yield `function(item)` for each item, in their order; `jobs` of them are in progress at a time.

    An exception is raised when its turn comes; items in progress are then finished, and no others are begun.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
