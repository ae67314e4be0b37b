"""`dedl-fastai gate`: determine the cut-offs of markers from cells, with a page that shows them."""

from typing import Annotated

import typer

from ..phenotypes.gates.options import METHODS, PER, SHIFTS

_CUTS, _FILES = "Cut-offs", "Input and output files"


def gate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULTS...", help="Folders that predict wrote, cell tables, or folders of cell tables."
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(METHODS)}: of Gaussians on logarithms, Otsu's on logarithms, or a quantile of --control.",
            rich_help_panel=_CUTS,
        ),
    ] = METHODS[0],
    per: Annotated[
        str, typer.Option(help=f"One cut-off per marker for each {', '.join(PER)}.", rich_help_panel=_CUTS)
    ] = PER[0],
    shift: Annotated[
        str,
        typer.Option(
            help=f"Make slides comparable, by dividing intensities by the slide's mean or mode: {', '.join(SHIFTS)}.",
            rich_help_panel=_CUTS,
        ),
    ] = SHIFTS[0],
    given: Annotated[
        str,
        typer.Option(
            "--set",
            help="Cut-offs by hand, as CD19=1.2,CD4=3; CD4=3/8 for dim and bright cells.",
            rich_help_panel=_CUTS,
        ),
    ] = "",
    control: Annotated[
        str,
        typer.Option(help="Results or cell table of a negative control, for --method quantile.", rich_help_panel=_CUTS),
    ] = "",
    quantile: Annotated[
        float, typer.Option(help="Share of the control's cells below the cut-off.", rich_help_panel=_CUTS)
    ] = 0.99,
    markers: Annotated[
        str,
        typer.Option(
            help="Markers, separated by commas (default: those of --rules, else all).", rich_help_panel=_FILES
        ),
    ] = "",
    rules: Annotated[
        str,
        typer.Option(
            help="Phenotype rules: their markers, dim and bright ones included. tfh5, vanburen3, or a FILE.",
            rich_help_panel=_FILES,
        ),
    ] = "",
    patient: Annotated[
        str,
        typer.Option(help="Regular expression that finds the patient in a field's name.", rich_help_panel=_FILES),
    ] = "",
    apply: Annotated[
        bool,
        typer.Option(
            "--apply",
            help="Also change the types of the cells in RESULTS, which --out is then in; nothing is predicted again.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    out: Annotated[
        str,
        typer.Option(help="File of the cut-offs; the page is next to it, ending with .html.", rich_help_panel=_FILES),
    ] = "gates.json",
) -> None:
    """Determine the intensity above which cells are positive, for each marker, from all cells.

    It says how well positive and negative cells are separated, and gives no cut-off where there are not two groups of
    cells. The page shows histograms, and cells just below and above the cut-offs. Use the file with predict --gates, or
    --apply to change the types in finished results.
    """
    from contextlib import nullcontext

    from ..io.locks import alone_in
    from ..phenotypes.classify import parse_thresholds
    from ..phenotypes.gates.gates import ALL
    from ..phenotypes.gates.options import GateOptions
    from ..predict.gate import gate_cells

    with alone_in(inputs[0]) if apply else nullcontext():
        gates = gate_cells(
            inputs,
            out,
            GateOptions(method, per, shift, quantile),
            markers=[m.strip() for m in markers.split(",") if m.strip()],
            rules=rules,
            given=parse_thresholds(given, "given"),
            control=[control] if control else (),
            patient=patient,
            apply=apply,
        )
    for group, of_group in gates.groups.items():
        for marker, found in of_group.items():
            typer.echo(f"{marker if group == ALL else f'{marker}, {group}'}: {found.statement}")
    typer.echo(f"types and cut-offs: {inputs[0]}" if apply else f"cut-offs: {out}")
