"""The comparison of tools as lines of text and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = {
    "tool": "tool",
    "cohort": "fields",
    "f1": "F1",
    "f1_mean": "mean F1",
    "pq": "PQ",
    "iou": "IoU",
    "seconds_per_mpx": "s/Mpx",
    "cpu_seconds_per_mpx": "CPU s/Mpx",
    "train_cpu_seconds": "training CPU s",
    "peak_mb": "MB",
    "weights": "weights",
    "licence": "licence",
    "version": "version",
}


def anchor_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows as a Markdown table, which is readable in a terminal too; then why tools were left out."""
    shown = [_cells(row) for row in rows if "why_not" not in row]
    cells = [list(_COLUMNS.values()), *shown]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_COLUMNS))]
    lines = ["| " + " | ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    left_out = [f"- {row['tool']}: not run, because {row['why_not']}" for row in rows if "why_not" in row]
    return [lines[0], rule, *lines[1:], *([""] if left_out else []), *left_out]


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [_text(row.get(name)) for name in _COLUMNS]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
