"""`dedl-fastai correct`: let the tables, outlines and counts of results follow the corrections by hand."""

from typing import Annotated

import typer


def correct(
    results: Annotated[str, typer.Argument(metavar="RESULTS", help="Folder that predict wrote, with corrections.")],
    gates: Annotated[
        str, typer.Option(help="The gates.json that the results were made with, if the folder does not have it.")
    ] = "",
    cell_types: Annotated[
        str, typer.Option(help="The RUN that gave the types of the results: changed nuclei get one by it too.")
    ] = "",
) -> None:
    """Rewrite what is behind the corrections of view: tables of cells, GeoJSON, counts and densities, the report.

    Changed nuclei are measured in the image again, and nothing is predicted. The label image of the prediction stays;
    the corrected one is in RESULTS/corrections.
    """
    from ..io.locks import alone_in
    from ..predict.correct import correct_results

    with alone_in(results):
        names = correct_results(results, gates, cell_types)
    typer.echo(f"fields rewritten: {', '.join(names) if names else 'none, all show their corrections'}")
