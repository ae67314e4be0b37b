"""Types of predicted cells by a classifier of single cells, for the files of results."""

import pandas as pd

from ..errors import UserError
from ..inference.cell_types import CellTyper, add_cell_types, load_cell_types
from ..inference.field_cells import FieldCells
from ..io.fields.field import Field
from .options import CellOptions, ModelOptions


def typer_of(options: CellOptions, model: ModelOptions) -> CellTyper | None:
    """Load the classifier that the options name, or return None. Raises `UserError` if it was trained otherwise."""
    if not options.cell_types:
        return None
    typer = load_cell_types(options.cell_types, device=model.device)
    if typer.ring_um != options.ring_um:
        raise UserError(
            f"ring_um={options.ring_um:g}: the classifier of cells was trained on rings of {typer.ring_um:g} um. Leave "
            f"`ring_um` out."
        )
    return typer


def check_channels(typer: CellTyper, field: Field) -> None:
    """Raise a `UserError` if the field lacks a channel that the classifier needs, before it is predicted."""
    missing = [c for c in typer.channels if c.lower() not in {name.lower() for name in field.channels}]
    if missing:
        raise UserError(
            f"{field.path} has no channel {missing[0]!r}, which the classifier of cells needs: it has "
            f"{', '.join(field.channels)}."
        )


def typed_cells(typer: CellTyper, found: FieldCells, min_confidence: float | None) -> pd.DataFrame:
    """Return the table of a predicted field with type and probabilities of each cell; see `add_cell_types`."""
    p = typer.probabilities(found.cells, found.field, found.labels)
    limit = typer.min_confidence if min_confidence is None else min_confidence
    return add_cell_types(found.cells, p, typer.classes, limit, how=typer.how)
