"""Scores of cells' types from saved runs: of a classifier, of test folds, and of the nuclei of a segmentation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...data.cohort import Cohort
from ...inference.cell_types import MeasuredTypes, load_cell_types
from ...phenotypes.rules import Rules
from ...training.run_folder import RunFolder
from .evaluation import evaluate_types
from .labelled import LabelledCells, MeasuredField, NucleiSource, labelled_cells
from .out_of_fold import pooled_metrics
from .training import nuclei_of


@dataclass(frozen=True)
class TypeOptions:
    """How the types of cells are predicted, and matched with those of the cell tables."""

    cell_types: str = ""  # run of a classifier of single cells
    rules: str = ""  # phenotype rules; with a classifier, those of its training
    seg: str = ""  # segmentation run that finds the nuclei for a classifier; default: as in its training
    match: str = "nucleus"  # nucleus, place
    min_confidence: float | None = None  # default: the classifier's own

    @property
    def predicts(self) -> bool:
        """Whether types of nuclei are predicted at all."""
        return bool(self.cell_types or self.rules)


def evaluate_cells_again(
    run: RunFolder,
    cohort: Cohort,
    split: str,
    *,
    which: str,
    device: str,
    types: TypeOptions,
    known: dict[str, MeasuredField] | None = None,
) -> dict[str, Any]:
    """Score a classifier of single cells on one split of a cohort."""
    typer = load_cell_types(run.path, which, device)
    nuclei = nuclei_of(types.seg or typer.card["seg"], device)
    cells = _labelled_as(typer, cohort, nuclei, types.match, known)
    return evaluate_types(cells, split, typer, _confidence(types, typer))


def evaluate_cells_folds(parent: RunFolder, cohorts: Mapping[str, Cohort], which: str, device: str) -> dict[str, Any]:
    """Score each run of a folder with test folds on the patients that it tests, and pool the scores."""
    known: dict[str, MeasuredField] = {}
    return pooled_metrics(
        {
            name: evaluate_cells_again(
                RunFolder.existing(parent.path / name),
                cohort,
                "test",
                which=which,
                device=device,
                types=TypeOptions(),
                known=known,
            )
            for name, cohort in cohorts.items()
        }
    )


def evaluate_types_of_nuclei(cohort: Cohort, split: str, nuclei: NucleiSource, types: TypeOptions) -> dict[str, Any]:
    """Score the types that rules or a classifier give to nuclei, beside a forest and the most frequent type.

    The forest is fitted to the nuclei of the training fields of the cohort, if there are any.
    """
    if types.cell_types:
        typer = load_cell_types(types.cell_types)
        cells = _labelled_as(typer, cohort, nuclei, types.match)
        return evaluate_types(cells, split, typer, _confidence(types, typer), with_forest=split == "test")
    cells = labelled_cells(cohort, types.rules, nuclei=nuclei, match=types.match)
    return evaluate_types(cells, split, with_forest=split == "test")


def _labelled_as(
    typer: MeasuredTypes,
    cohort: Cohort,
    nuclei: NucleiSource | None,
    match: str,
    known: dict[str, MeasuredField] | None = None,
) -> LabelledCells:
    """The cells of a cohort, with the classes defined as in the training of the classifier."""
    rules = Rules.parse(typer.card["rules_text"]) if typer.card["rules_text"] else "tfh5"
    return labelled_cells(cohort, rules, typer.card["thresholds"], nuclei, match=match, known=known)


def _confidence(types: TypeOptions, typer: MeasuredTypes) -> float:
    return typer.card["min_confidence"] if types.min_confidence is None else types.min_confidence
