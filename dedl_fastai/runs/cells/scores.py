"""Scores of cells' types for metrics.json: of predicted types, of probabilities, by rules and by the majority."""

import logging
from typing import Any

import numpy as np

from ...errors import UserError
from ...inference.cell_types import CellTyper
from ...io.fields.readers import open_field
from ...phenotypes.classify import classify_cells, plain_class
from ...phenotypes.rules import Rules
from ...scores.cell_types import confusion_matrix, overall_scores, patient_matrices, type_intervals, type_scores
from ...scores.confidence import UNDECIDED, confidence_error, decided
from .design import Design
from .labelled import KEYS, LabelledCells

log = logging.getLogger(__name__)

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def scores_of_types(design: Design, at: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Return the scores of the types of these cells, -1 for undecided, with intervals over patients."""
    matrices = _by_patient(design, at, predicted)
    k = len(design.cells.vocab)
    counts = sum(matrices.values(), np.zeros((k, k + 1), int))
    return {**type_scores(counts, design.cells.vocab), "intervals": type_intervals(matrices)}


def scores_of_probabilities(design: Design, at: np.ndarray, p: np.ndarray, min_confidence: float) -> dict[str, Any]:
    """The same for probabilities, with their calibration error, and what each confidence would leave undecided."""
    truth, k = design.truth(at), len(design.cells.vocab)
    rows = {c: overall_scores(confusion_matrix(truth, decided(p, c), k)) for c in CONFIDENCES}
    return {
        **scores_of_types(design, at, decided(p, min_confidence)),
        "ece": round(confidence_error(p, truth), 6),
        "by_confidence": [{"min_confidence": c, **row} for c, row in rows.items()],
    }


def scores_by_patient(design: Design, at: np.ndarray, predicted: np.ndarray, split: str) -> dict[str, Any]:
    """Return the scores and the confusion matrix of each patient."""
    matrices = _by_patient(design, at, predicted)
    return {
        patient: {"split": split, **overall_scores(counts), "confusion": counts.tolist()}
        for patient, counts in matrices.items()
    }


def _by_patient(design: Design, at: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    return patient_matrices(design.truth(at), predicted, design.patients(at), len(design.cells.vocab))


def majority_types(design: Design, at: np.ndarray) -> np.ndarray:
    """The most frequent type of the training cells, for each of these cells."""
    train = design.truth(design.labelled(["train", "valid"]))
    return np.full(len(at), int(np.bincount(train, minlength=len(design.cells.vocab)).argmax()))


def probabilities_of(typer: CellTyper, cells: LabelledCells) -> np.ndarray:
    """The probabilities (N, K) that a classifier gives to all measured nuclei."""
    parts = []
    for name, table in cells.tables.items():
        if not typer.needs_pixels:
            parts.append(typer.probabilities(table, None, None))
            continue
        with open_field(cells.images[name]) as field:
            parts.append(typer.probabilities(table, field, np.load(cells.label_files[name], mmap_mode="r")))
    return np.concatenate(parts)


def rule_types(cells: LabelledCells, rules: Rules | None = None) -> np.ndarray | None:
    """The types that rules give to all measured nuclei, as indices of the vocabulary; None if they do not apply.

    Cut-offs are the default ones of the cells of the fields that do not test. Rules apply if they gave the tables'
    classes or give types of the same names, and if all their markers were measured.
    """
    if not cells.rules_text:
        return None
    measured = {name: t.drop(columns=KEYS) for name, t in cells.tables.items()}
    fit_on = {name for name, t in cells.tables.items() if len(t) and (t["split"] != "test").any()}
    try:
        classes = classify_cells(measured, rules or Rules.parse(cells.rules_text), fit_on=fit_on or None).classes
    except UserError as e:
        log.info("the rules are not compared: %s", e)
        return None
    index = {name: k for k, name in enumerate(cells.vocab)}
    return np.array(
        [index.get(c, UNDECIDED) for name in cells.tables for c in classes[name].map(plain_class)], dtype=np.int64
    )
