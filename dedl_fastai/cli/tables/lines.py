"""Lines and cells that the tables of both tasks share."""

from collections.abc import Iterable
from typing import Any


def line(name: str, cells: Iterable[str], width: int) -> str:
    """Return a row: its name, and cells of this width."""
    return f"{name:<28}" + "".join(f"{c:>{width}}" for c in cells)


def mean_sd(value: dict[str, Any] | None) -> str:
    """Return mean and standard deviation as a cell."""
    if value is None:
        return "-"
    return f"{value['mean']:.4f}" + (f" ± {value['sd']:.4f}" if value["sd"] is not None else "")


def interval(ends: list[float] | None) -> str:
    """Return the two ends of an interval as a cell."""
    return "-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def interval_lines(scores: dict[str, Any], columns: Iterable[str], width: int) -> list[str]:
    """Return a row with the 95 % intervals of the scores in these columns, if there are any."""
    intervals = scores.get("intervals")
    if not intervals:
        return []
    return [line("  95 %, patients drawn anew", (interval(intervals.get(c)) for c in columns), width)]
