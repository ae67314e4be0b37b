"""Segmentation metrics as tables for the terminal."""

from collections.abc import Iterable
from typing import Any

from .lines import interval, interval_lines, line, mean_sd

_COLUMNS = {
    "iou": "IoU",
    "dice": "Dice",
    "pixel_accuracy": "pixels",
    "mask_accuracy": "nuclei",
    "background_accuracy": "backgr.",
    "boundary_f1": "boundary",
}
_SPLITS = {"test": "", "valid": " (tuned here)"}
_NARROW = 9  # characters of a column
_WIDE = 16  # characters of a column with a spread or an interval
_OBJECT_BASELINES = {"otsu": "otsu", "ceiling": "from true mask"}
_OBJECT_COLUMNS = {"precision": "prec.", "recall": "recall", "f1": "F1", "ap": "AP", "pq": "PQ"}


def metrics_table(metrics: dict[str, Any]) -> str:
    """Return the scores of every split at both thresholds, of the baselines and of each patient as lines of text."""
    tuned = f"threshold {metrics['threshold']:g}"
    splits = [s for s in ("test", "valid", "train", "all") if s in metrics]
    rows: list[tuple[str, dict[str, Any]]] = []
    for split in splits:
        here = " (tuned here)" if metrics[split].get("tuned_here") else ""
        rows.append((f"{split}, {tuned}{here}", metrics[split]))
        rows.append((f"{split}, threshold 0.5", metrics[split]["at_0.5"]))
        if split in metrics.get("before", {}):
            rows.append((f"{split}, before", metrics["before"][split]))
        rows += [(f"{split}, {name}", by_split[split]) for name, by_split in metrics["baselines"].items()]
    patients = [(f"  {p} ({v['split']})", v) for p, v in metrics["per_patient"].items()]
    fields = ", ".join(f"{metrics[s]['n_fields']} {s}" for s in splits)
    return "\n".join(
        [
            *(f"whole fields: {fields}; pixels pooled", line("", _COLUMNS.values(), _NARROW), *map(_row, rows)),
            *map(_row, patients),
            *_interval_note(splits[0], metrics[splits[0]].get("intervals")),
            *(_scale_line(s, scale) for s, scale in metrics.get("scale", {}).items() if scale["by"] != "none"),
            *(row for s, objects in metrics.get("objects", {}).items() for row in _object_lines(s, objects)),
            *(row for s, against in metrics.get("annotators", {}).items() for row in _annotator_lines(s, against)),
            *_before_lines(metrics),
        ]
    )


def _before_lines(metrics: dict[str, Any]) -> list[str]:
    """Return the comparison with the run from which the training continued, if there is one."""
    before = metrics.get("before")
    if not before:
        return []
    lines = ["", f"compared with {before['weights']} on the same fields, tuned in the same way:"]
    for split in (s for s in ("test", "valid") if s in before):
        values = {"IoU": (before[split]["iou"], metrics[split]["iou"])}
        own, new = before["objects"].get(split), metrics["objects"].get(split)
        if own and new:
            values |= {"F1 at IoU 0.5": (own["f1_50"], new["f1_50"]), "mean F1": (own["f1_mean"], new["f1_mean"])}
        lines.append(f"{split}: " + ", ".join(f"{name} {a:.4f} -> {b:.4f}" for name, (a, b) in values.items()))
    return lines


def _scale_line(split: str, scale: dict[str, Any]) -> str:
    return f"{split}: predicted at {scale['factor']:g} times its size (by {scale['by']})"


def _interval_note(split: str, intervals: dict[str, Any] | None) -> list[str]:
    return [f"{split}: IoU {interval(intervals['iou'])} (95 %, patients drawn anew)"] if intervals else []


def _object_lines(split: str, objects: dict[str, Any]) -> list[str]:
    """Return the scores of the nuclei of a split at each IoU, or say why they are not counted."""
    if not objects["n_fields"]:
        return ["", f"nuclei, {split}: not counted, because the masks contain no ids"]
    without = f" ({objects['n_without_ids']} more have no ids)" if objects["n_without_ids"] else ""
    otsu = objects["baselines"]["otsu"]
    errors = ", ".join(f"{n} {name}" for name, n in objects["errors"].items())
    rows = [(f"IoU {row['iou']:.2f}", row) for row in objects["matching"]]
    rows += [
        (f"IoU {row['iou']:.2f}, {name}", row)
        for key, name in _OBJECT_BASELINES.items()
        for row in objects["baselines"].get(key, {}).get("matching", [])[:1]
    ]
    return [
        "",
        f"nuclei, {split}: {objects['n_fields']} fields with ids{without}, separated by {objects['part_by']}: "
        f"{objects['n_true']} true, {objects['n_predicted']} found (otsu {otsu['n_predicted']})",
        line("", _OBJECT_COLUMNS.values(), _NARROW),
        *(line(name, (f"{row[c]:.4f}" for c in _OBJECT_COLUMNS), _NARROW) for name, row in rows),
        f"at IoU 0.5: {errors}",
    ]


def _annotator_lines(split: str, against: dict[str, Any]) -> list[str]:
    """Return the scores of a split against the masks of each annotator, of whom there may be none."""
    if not against:
        return []
    return [
        "",
        f"{split}, against each annotator, tuned threshold",
        line("", [*_COLUMNS.values(), "F1 0.5"], _NARROW),
        *(
            line(f"{name}, {s['n_fields']} fields", [*_cells(s), f"{s['f1_50']:.4f}" if "f1_50" in s else "-"], _NARROW)
            for name, s in against.items()
        ),
    ]


def fold_table(summary: dict[str, Any]) -> str:
    """Return mean and standard deviation over the folds as lines of text."""
    n = len(summary["members"])
    rows = [(f"{s}, {n} folds{note}", summary[s]) for s, note in _SPLITS.items() if s in summary]
    baselines = [(f"test, {n}", b["test"]) for n, b in summary["baselines"].items() if "test" in b]
    return "\n".join([line("", _COLUMNS.values(), _WIDE), *(_spread_row(*r) for r in [*rows, *baselines])])


def test_fold_table(metrics: dict[str, Any]) -> str:
    """Return the pooled scores of all test folds with intervals over patients, the baselines, folds and patients."""
    test, folds = metrics["test"], metrics["folds"]
    rows = [_wide_row("test, tuned thresholds", test), *interval_lines(test, _COLUMNS, _WIDE)]
    rows.append(_wide_row("test, threshold 0.5", test["at_0.5"]))
    for name, row in metrics["baselines"].items():
        rows += [_wide_row(f"test, {name}", row), *interval_lines(row, _COLUMNS, _WIDE)]
    rows += [_wide_row(f"  {name}, threshold {row['threshold']:g}", row) for name, row in folds.items()]
    rows += [_wide_row(f"  {p} ({row['fold']})", row) for p, row in metrics["per_patient"].items()]
    return "\n".join(
        [
            f"whole fields: {test['n_fields']} of {len(metrics['per_patient'])} patients in {len(folds)} test folds, "
            f"pooled",
            line("", _COLUMNS.values(), _WIDE),
            *rows,
            *_object_lines("test", metrics["objects"]["test"]),
        ]
    )


def _wide_row(name: str, scores: dict[str, Any]) -> str:
    return line(name, _cells(scores), _WIDE)


def _row(row: tuple[str, dict[str, Any]]) -> str:
    return line(row[0], _cells(row[1]), _NARROW)


def _cells(scores: dict[str, Any]) -> Iterable[str]:
    return (f"{scores[c]:.4f}" for c in _COLUMNS)


def _spread_row(name: str, values: dict[str, Any]) -> str:
    return line(name, (mean_sd(values[c]) for c in _COLUMNS), _WIDE)
