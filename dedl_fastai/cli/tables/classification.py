"""Classification metrics as tables for the terminal."""

from typing import Any

from .lines import interval_lines, line, mean_sd

_COLUMNS = {
    "f1_macro": "F1 macro",
    "f1_micro": "F1 micro",
    "recall_macro": "recall",
    "map": "mAP",
    "auroc": "AUROC",
    "brier": "Brier",
    "ece": "calibr.",
}
_NARROW = 10  # characters of a column
_WIDE = 17  # characters of a column with a spread or an interval


def metrics_table(metrics: dict[str, Any]) -> str:
    """Return the scores of every split, of the baselines, weights and classes as lines of text."""
    splits = [s for s in ("test", "valid", "train", "all") if s in metrics]
    lines = [line("", _COLUMNS.values(), _NARROW)]
    for split in splits:
        tuned = "thresholds tuned here" if metrics[split].get("tuned_here") else "tuned thresholds"
        lines.append(_row(f"{split}, {tuned}", metrics[split]))
        lines.append(_row(f"{split}, threshold 0.5", metrics[split]["at_0.5"]))
        lines += [_row(f"{split}, {name}", row[split]) for name, row in metrics["baselines"].items()]
        constant = metrics["baselines"].get("constant", {}).get(split, {}).get("best_macro")
        if constant:
            lines.append(_row(f"{split}, constant, all classes", constant))
        if metrics[split]["without_constant"]:
            lines.append(_row(f"{split}, varying classes", metrics[split]["without_constant"]))
    for which, row in metrics.get("weights", {}).items():
        lines.append(_row(f"{splits[0]}, {which} weights", row[splits[0]]))
    intervals = metrics[splits[0]].get("intervals") or {}
    if intervals.get("f1_macro"):
        low, high = intervals["f1_macro"]
        lines.append(f"{splits[0]}: F1 macro {low:.3f} to {high:.3f} (95 %, patients drawn anew)")
    lines += ["", *_class_lines(metrics[splits[0]]["per_class"], splits[0])]
    lines += [f"warning: {w}" for w in metrics.get("labels", {}).get("warnings", [])]
    return "\n".join(lines)


def members_table(summary: dict[str, Any]) -> str:
    """Return mean and standard deviation over the members, the ensemble and the baselines as lines of text."""
    n = len(summary["members"])
    lines = [line("", _COLUMNS.values(), _WIDE)]
    for split, note in (("test", ""), ("valid", " (tuned here)")):
        if split not in summary:
            continue
        lines.append(line(f"{split}, {n} members{note}", (mean_sd(summary[split].get(c)) for c in _COLUMNS), _WIDE))
    if "ensemble" in summary:
        lines.append(_wide_row("test, ensemble", summary["ensemble"]["test"]))
    for name, row in summary["baselines"].items():
        lines.append(_wide_row(f"{row['split']}, {name}", row))
    return "\n".join(lines)


def test_fold_table(metrics: dict[str, Any]) -> str:
    """Return the pooled scores of all test folds with intervals over patients, the baselines, folds and classes."""
    test, folds = metrics["test"], metrics["folds"]
    lines = [
        f"{test['n']} items of {len(metrics['per_patient'])} patients in {len(folds)} test folds, pooled",
        line("", _COLUMNS.values(), _WIDE),
        _wide_row("test, tuned thresholds", test),
        *interval_lines(test, _COLUMNS, _WIDE),
        _wide_row("test, threshold 0.5", test["at_0.5"]),
    ]
    for name, row in metrics["baselines"].items():
        lines += [_wide_row(f"test, {name}", row), *interval_lines(row, _COLUMNS, _WIDE)]
    lines.append(_wide_row("test, constant, all classes", metrics["baselines"]["constant"]["best_macro"]))
    lines += [_wide_row(f"  {name}", row) for name, row in folds.items()]
    return "\n".join([*lines, "", *_class_lines(test["per_class"], "test")])


def _wide_row(name: str, values: dict[str, Any]) -> str:
    return line(name, (_number(values.get(c)) for c in _COLUMNS), _WIDE)


def _class_lines(classes: dict[str, dict[str, Any]], split: str) -> list[str]:
    names = ("n", "prevalence", "f1", "recall", "precision", "ap", "auroc", "threshold")
    rows = [line(f"  {c}", (_number(row.get(k)) for k in names), _NARROW) for c, row in classes.items()]
    return [line(f"classes in {split}", names, _NARROW), *rows]


def _row(name: str, values: dict[str, Any]) -> str:
    return line(name, (_number(values.get(c)) for c in _COLUMNS), _NARROW)


def _number(value: Any) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"
