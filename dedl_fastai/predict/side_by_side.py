"""`side_by_side`: a function applied to several items at a time, by threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")


def side_by_side(function: Callable[[Item], Found], items: Iterable[Item], jobs: int) -> Iterator[Found]:
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
