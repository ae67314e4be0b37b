"""Scores of cells' types from saved runs: of a classifier, of test folds, and of the nuclei of a segmentation."""

from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from ...data.cohort import Cohort
from ...inference.cell_types import CellTyper, load_cell_types
from ...phenotypes.rules import Rules
from ...training.run_folder import RunFolder
from .evaluation import evaluate_types
from .labelled import MeasuredField, NucleiSource, labelled_cells, nuclei_of
from .pooled import pooled_metrics


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
    return _evaluated_as(typer, cohort, nuclei, split=split, types=types, known=known)


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
        return _evaluated_as(typer, cohort, nuclei, split=split, types=types, with_forest=split == "test")
    cells = labelled_cells(cohort, types.rules, nuclei=nuclei, match=types.match)
    return evaluate_types(cells, split, with_forest=split == "test")


def _evaluated_as(
    typer: CellTyper,
    cohort: Cohort,
    nuclei: NucleiSource | None,
    *,
    split: str,
    types: TypeOptions,
    known: dict[str, MeasuredField] | None = None,
    with_forest: bool = False,
) -> dict[str, Any]:
    """Score a classifier on the cells of a cohort, with the classes defined as in its training."""
    card = typer.card
    rules = Rules.parse(card["rules_text"]) if card["rules_text"] else "tfh5"
    confidence = typer.min_confidence if types.min_confidence is None else types.min_confidence
    with TemporaryDirectory() as folder:
        keep = folder if typer.needs_pixels else ""
        cells = labelled_cells(
            cohort, rules, card["thresholds"], nuclei, match=types.match, known=None if keep else known, folder=keep
        )
        return evaluate_types(cells, split, typer, confidence, with_forest=with_forest)
