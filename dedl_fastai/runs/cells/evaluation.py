"""Metrics of classifiers of single cells: kinds, rules and the most frequent type, on cells of patients left out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...cells.features import measured_channels
from ...errors import UserError
from ...inference.cell_types import CellTyper, MeasuredTypes
from ...scores.confidence import decided
from .design import Design
from .labelled import LabelledCells
from .measured import Fitted, fit_measured
from .scores import (
    majority_types,
    probabilities_of,
    rule_types,
    scores_by_patient,
    scores_of_probabilities,
    scores_of_types,
)

_TREES = 100  # of the forest that types are compared with
Probabilities = Mapping[str, np.ndarray]  # split -> (N, K)
Row = tuple[np.ndarray, np.ndarray]  # cells, and their predicted types


def evaluate_measured(design: Design, fitted: Mapping[str, Fitted], min_confidence: float) -> dict[str, Any]:
    """Return the contents of metrics.json: the best kind on top, the others and the baselines beside it."""
    best = next(iter(fitted.values()))
    at = {"valid": best.at, "test": design.labelled(["test"])}
    p = {kind: {"valid": f.p, "test": of_cells(f.typer, design, at["test"])} for kind, f in fitted.items()}
    own = p.pop(best.typer.card["kind"])
    metrics = _compared(design, best.typer.card, at, own, others=p, min_confidence=min_confidence)
    return {**metrics, "kinds": {kind: {"f1_macro": f.f1_macro, "tried": f.tried} for kind, f in fitted.items()}}


def evaluate_network(
    design: Design, typer: CellTyper, fitted: Mapping[str, Fitted], min_confidence: float
) -> dict[str, Any]:
    """Return the contents of metrics.json of a network, beside the kinds on measurements and the baselines.

    All are compared on the cells of the validation fields, which the kinds on measurements predicted by folds.
    """
    at = {split: design.labelled([split]) for split in ("valid", "test")}
    by_network = probabilities_of(typer, design.cells)
    others = {}
    for kind, f in fitted.items():
        by_folds = np.full(by_network.shape, np.nan)
        by_folds[f.at] = f.p
        others[kind] = {"valid": by_folds[at["valid"]], "test": of_cells(f.typer, design, at["test"])}
    p = {split: by_network[cells] for split, cells in at.items()}
    return _compared(design, typer.card, at, p, others=others, min_confidence=min_confidence)


def _compared(
    design: Design,
    card: Mapping[str, Any],
    at: Mapping[str, np.ndarray],  # split -> cells
    p: Probabilities,
    *,
    others: Mapping[str, Probabilities],
    min_confidence: float,
) -> dict[str, Any]:
    """Score a classifier, others and the baselines on the splits that have cells."""
    at = {split: cells for split, cells in at.items() if len(cells)}
    last = list(at)[-1]
    rows = {name: {s: (at[s], decided(by_split[s], min_confidence)) for s in at} for name, by_split in others.items()}
    metrics = {
        **cells_facts(design.cells, card),
        "min_confidence": min_confidence,
        **{s: scores_of_probabilities(design, at[s], p[s], min_confidence) for s in at},
        "per_patient": scores_by_patient(design, at[last], decided(p[last], min_confidence), split=last),
        "baselines": type_baselines(design, at, rows),
    }
    metrics["valid"]["tuned_here"] = True
    return {**metrics, "advice": advice(metrics)}


def of_cells(typer: MeasuredTypes, design: Design, at: np.ndarray) -> np.ndarray:
    """The calibrated probabilities (N, K) of these cells, from their measurements."""
    return typer.of_features(design.x(typer.card["intensities"])[at])


def cells_facts(cells: LabelledCells, card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what metrics.json says of the cells, their nuclei and the classifier."""
    return {
        "task": "cells",
        "classes": list(cells.vocab),
        "kind": card["kind"],
        "intensities": card.get("intensities", ""),
        "nuclei": {
            "from": cells.nuclei,
            "n": len(cells.keys),
            "with_type": int((cells.keys.type != "").sum()),
            "in_tables": cells.n_in_tables,
        },
        "labels": {"how": cells.how, "warnings": cells.warnings},
    }


def type_baselines(
    design: Design, at: Mapping[str, np.ndarray], others: Mapping[str, Mapping[str, Row]] | None = None
) -> dict[str, Any]:
    """Score other classifiers, rules where they apply, and the most frequent type; the last split on top."""
    rows = {name: dict(by_split) for name, by_split in (others or {}).items()}
    by_rules = rule_types(design.cells)
    if by_rules is not None:
        rows["rules"] = {s: (cells, by_rules[cells]) for s, cells in at.items()}
    if len(design.labelled(["train", "valid"])):
        rows["majority"] = {s: (cells, majority_types(design, cells)) for s, cells in at.items()}
    last = list(at)[-1]
    scored = {n: {s: scores_of_types(design, *row) for s, row in by_split.items()} for n, by_split in rows.items()}
    return {name: {**by_split[last], "split": last, **by_split} for name, by_split in scored.items()}


def advice(metrics: Mapping[str, Any]) -> str:
    """Return a sentence that says which classifier to use: the best on the validation cells, of all that are listed."""
    own = f"{metrics['kind']} on {metrics['intensities']} measurements" if metrics["intensities"] else metrics["kind"]
    scores = {own: metrics["valid"]["f1_macro"]}
    scores |= {name: row["valid"]["f1_macro"] for name, row in metrics["baselines"].items()}
    order = sorted(scores, key=lambda name: -scores[name])
    shown = ", ".join(f"{name} {scores[name]:.3f}" for name in order[1:])
    return f"use {order[0]}: F1 macro {scores[order[0]]:.3f} in validation ({shown})"


def evaluate_types(
    cells: LabelledCells,
    split: str,  # train, valid, test or all
    typer: CellTyper | None = None,  # default: rules, with the default cut-offs
    min_confidence: float = 0.0,
    with_forest: bool = False,  # also fit a forest to the training cells
) -> dict[str, Any]:
    """Score the types of the cells of one split beside the baselines; classes that the classifier lacks are left out.

    Raises `UserError` if no cell has one of the classes, or if rules do not apply to the measured channels.
    """
    unknown = sorted({*cells.vocab} - {*typer.classes}) if typer else []
    cells.vocab = typer.classes if typer else cells.vocab
    design = Design.of(cells, typer.card["channels"] if typer else measured_channels(next(iter(cells.tables.values()))))
    at = design.labelled([split])
    if not len(at):
        raise UserError(f"no cell of the split {split} has one of the types {', '.join(cells.vocab)} in its table.")
    others = {}
    if with_forest and len(design.usable(["train", "valid"])):
        forest = next(iter(fit_measured(design, trees=_TREES, kinds=["forest"]).values())).typer
        others["forest"] = {split: (at, decided(of_cells(forest, design, at), min_confidence))}
    by_rules = rule_types(cells)
    if typer:
        p = probabilities_of(typer, cells)[at]
        scores, chosen = scores_of_probabilities(design, at, p, min_confidence), decided(p, min_confidence)
    elif by_rules is not None:
        chosen = by_rules[at]
        scores = scores_of_types(design, at, chosen)
    else:
        raise UserError("the rules do not give the types of the tables: give a classifier as `cell_types`.")
    metrics = {
        **cells_facts(cells, typer.card if typer else {"kind": "rules"}),
        "min_confidence": min_confidence,
        split: scores,
        "per_patient": scores_by_patient(design, at, chosen, split=split),
        "baselines": type_baselines(design, {split: at}, others),
    }
    if typer is None:  # the rules are what is scored
        del metrics["baselines"]["rules"]
    metrics["labels"]["warnings"] = [
        f"class {c!r} is not known to the classifier: its cells are left out" for c in unknown
    ]
    return metrics
