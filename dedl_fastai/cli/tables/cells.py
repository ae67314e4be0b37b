"""Scores of cells' types as tables for the terminal."""

from collections.abc import Mapping
from typing import Any

from .lines import interval, line

_COLUMNS = {
    "f1_macro": "F1 macro",
    "accuracy": "accuracy",
    "accuracy_decided": "of decided",
    "undecided": "undecided",
    "ece": "calibr.",
}
_WIDTH = 11


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Return the scores of each split beside the baselines, the types, the confusion matrix and the advice."""
    splits = [s for s in ("test", "valid", "train", "all") if s in metrics]
    nuclei = metrics["nuclei"]
    lines = [
        f"{nuclei['n']} nuclei ({nuclei['from']}), {nuclei['with_type']} matched with the {nuclei['in_tables']} typed "
        f"cells of the tables",
        line("", _COLUMNS.values(), _WIDTH),
    ]
    for split in splits:
        note = " (chosen here)" if metrics[split].get("tuned_here") else ""
        lines.append(_row(f"{split}, {metrics['kind']}{note}", metrics[split]))
        lines += [_row(f"{split}, {name}", row[split]) for name, row in metrics["baselines"].items() if split in row]
    for name, row in metrics.get("folds", {}).items():
        lines.append(_row(f"  {name}, {row['kind']}", row))
    scores = metrics[splits[0]]
    if scores.get("intervals"):
        low_high = interval(scores["intervals"]["f1_macro"])
        lines.append(f"{splits[0]}: F1 macro {low_high} (95 %, patients drawn anew)")
    lines += ["", *_type_lines(scores["per_class"], splits[0]), "", *_confusion_lines(scores, metrics["classes"])]
    lines += [f"warning: {w}" for w in metrics["labels"]["warnings"]]
    return "\n".join([*lines, *([metrics["advice"]] if "advice" in metrics else [])])


def _row(name: str, scores: Mapping[str, Any]) -> str:
    return line(name, (_number(scores.get(c)) for c in _COLUMNS), _WIDTH)


def _type_lines(rows: Mapping[str, Mapping[str, Any]], split: str) -> list[str]:
    names = ("n", "found", "f1", "recall", "precision", "undecided")
    return [
        line(f"types in {split}", names, _WIDTH),
        *(line(f"  {c}", (_number(row[k]) for k in names), _WIDTH) for c, row in rows.items()),
    ]


def _confusion_lines(scores: Mapping[str, Any], classes: list[str]) -> list[str]:
    short = [c[: _WIDTH - 1] for c in [*classes, "undecided"]]
    rows = zip(classes, scores["confusion"], strict=True)
    return [line("true (rows), predicted", short, _WIDTH), *(line(f"  {c}", map(str, n), _WIDTH) for c, n in rows)]


def _number(value: Any) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"
