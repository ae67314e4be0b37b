"""`dedl-fastai gate`: determine the cut-offs of markers from cells, with a page that shows them."""

from typing import Annotated

import typer

from ..predict.gate_options import GateCommand
from .options import with_options

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="RESULTS...", help="Folders that predict wrote, cell tables, or folders of cell tables."),
]


@with_options(GateCommand)
def gate(given: dict, inputs: Inputs) -> None:
    """Determine the intensity above which cells are positive, for each marker, from all cells.

    It says how well positive and negative cells are separated, and gives no cut-off where there are not two groups of
    cells. The page shows histograms, and cells just below and above the cut-offs. Where the tables have phenotypes, it
    counts the cells of each above the cut-offs, and compares them with the types by --rules. Use the file with predict
    --gates, or --apply to change the types in finished results.
    """
    from contextlib import nullcontext

    from ..io.locks import alone_in
    from ..phenotypes.classify import parse_thresholds
    from ..phenotypes.gates.gates import ALL
    from ..predict.gate import gate_cells

    options = GateCommand(**given)
    with alone_in(inputs[0]) if options.apply else nullcontext():
        gates = gate_cells(
            inputs,
            options.out,
            options.how,
            markers=options.marker_list,
            rules=options.rules,
            given=parse_thresholds(options.given, "given"),
            control=[options.control] if options.control else (),
            patient=options.patient,
            apply=options.apply,
        )
    for group, of_group in gates.groups.items():
        for marker, found in of_group.items():
            typer.echo(f"{marker if group == ALL else f'{marker}, {group}'}: {found.statement}")
    typer.echo(f"types and cut-offs: {inputs[0]}" if options.apply else f"cut-offs: {options.out}")
