"""`dedl-fastai neighbours`: which types of cells are neighbours, in each patient and between groups of patients."""

from typing import Annotated

import typer

from ..cells.options import PERMUTATIONS, RADIUS_UM

_TEST, _FILES = "Test", "Input and output files"


def neighbours(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULTS...",
            help="Folders that predict wrote with --rules or --cell-types, cell tables with phenotypes, or folders.",
        ),
    ],
    groups: Annotated[
        str,
        typer.Option(
            help="CSV table with the columns patient and group: compare groups of patients.", rich_help_panel=_TEST
        ),
    ] = "",
    radius_um: Annotated[
        float,
        typer.Option(
            "--radius", help="Largest distance between the centres of neighbouring cells, in um.", rich_help_panel=_TEST
        ),
    ] = RADIUS_UM,
    permutations: Annotated[
        int, typer.Option(help="Random permutations of the types that stand for chance.", rich_help_panel=_TEST)
    ] = PERMUTATIONS,
    seed: Annotated[int, typer.Option(help="Seed of permutations and resamples.", rich_help_panel=_TEST)] = 0,
    pixel_size_um: Annotated[
        float,
        typer.Option(
            "--pixel-size", help="Pixel size in um, of tables with positions in pixels.", rich_help_panel=_FILES
        ),
    ] = 0.0,
    patient: Annotated[
        str,
        typer.Option(help="Regular expression that finds the patient in a field's name.", rich_help_panel=_FILES),
    ] = "",
    out: Annotated[str, typer.Option(help="Folder of the tables and pictures.", rich_help_panel=_FILES)] = "neighbours",
) -> None:
    """Find pairs of cell types that are neighbours more, or less, often than chance explains.

    Types are permuted within each field, and within its tissue classes where the tables have them. The contacts of a
    patient's fields are added up; q is corrected for the number of pairs. Groups are compared patient by patient.
    """
    from ..predict.neighbours import find_neighbours
    from .tables.neighbours import group_lines, pair_lines

    found = find_neighbours(
        inputs,
        out,
        groups=groups,
        radius_um=radius_um,
        permutations=permutations,
        pixel_size_um=pixel_size_um,
        patient=patient,
        seed=seed,
    )
    lines = pair_lines(found.pairs)
    if found.groups is not None:
        lines += ["", *group_lines(found.groups)]
    typer.echo("\n".join([*lines, *found.notes, f"neighbours: {out}"]))
