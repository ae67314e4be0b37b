"""`dedl-fastai report`: the page of results again, or what their records know for the SITC checklist."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER...", help="The results of predict, and with --sitc the RUNs that they were made with."
        ),
    ],
    sitc: Annotated[
        bool,
        typer.Option(
            "--sitc",
            help="Write what is known for the reporting checklist of the Society for Immunotherapy of Cancer.",
        ),
    ] = False,
    out: Annotated[
        str, typer.Option("--out", help="File to write (default: report.html, or with --sitc sitc.md, in FOLDER).")
    ] = "",
) -> None:
    """Write report.html of results again from their records, or with --sitc a report for a publication.

    --sitc fills in the channels, pixel sizes, models, settings, cut-offs, scores with intervals, corrections and
    versions that the records know, in Markdown, and marks what a human has to fill in. A RUN alone is described too.
    """
    from ..predict.reports import write_page, write_sitc

    folder = Path(folders[0]) if Path(folders[0]).is_dir() else Path()  # nuclei is no folder
    target = Path(out) if out else folder / ("sitc.md" if sitc else "report.html")
    write = write_sitc if sitc else write_page
    write(folders, target)
    typer.echo(f"report: {target}")
