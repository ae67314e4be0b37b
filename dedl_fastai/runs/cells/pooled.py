"""`pooled_metrics`: the scores of the folds that together test every patient once, as one."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...scores.cell_types import overall_scores, type_intervals, type_scores


def pooled_metrics(folds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the scores of the added confusion matrices of the folds' test cells, and of their baselines.

    Every cell is scored once, by a classifier that did not see its patient. The calibration error is the mean over the
    folds, weighted by their cells.
    """
    first, rows = next(iter(folds.values())), list(folds.values())
    vocab = first["classes"]
    patients = {p: {"fold": name, **row} for name, m in folds.items() for p, row in m["per_patient"].items()}
    matrices = {p: np.array(row["confusion"]) for p, row in patients.items()}
    tested = [{m["kind"]: m["test"], **{n: row["test"] for n, row in m["baselines"].items()}} for m in rows]
    kinds = list(dict.fromkeys(m["kind"] for m in rows))
    names = [n for n in tested[0] if all(n in by_name for by_name in tested) and [n] != kinds]
    baselines = {name: _pooled([by_name[name] for by_name in tested], vocab) for name in names}
    test = {
        **_pooled([m["test"] for m in rows], vocab),
        "intervals": type_intervals(matrices),
        "ece": round(float(np.average([m["test"]["ece"] for m in rows], weights=[m["test"]["n"] for m in rows])), 6),
    }
    return {
        **{name: first[name] for name in ("task", "classes", "nuclei", "labels")},
        "kind": " or ".join(kinds),
        "test": test,
        "per_patient": patients,
        "baselines": {name: {**row, "split": "test", "test": row} for name, row in baselines.items()},
        "folds": {name: {"kind": m["kind"], **_overall(m["test"])} for name, m in folds.items()},
    }


def _overall(scores: Mapping[str, Any]) -> dict[str, Any]:
    return overall_scores(np.array(scores["confusion"]))


def _pooled(scores: list[Mapping[str, Any]], vocab: list[str]) -> dict[str, Any]:
    return type_scores(np.sum([row["confusion"] for row in scores], axis=0), vocab)
