"""`dedl-fastai data`: make a synthetic cohort, check a folder, write a cohort.csv, make one truth of several."""

from typing import Annotated

import typer

from ..errors import UserError
from .command import Command

app = typer.Typer(no_args_is_help=True, help="Make, check or convert a cohort.")
Folder = Annotated[str, typer.Argument(help="Folder of fields or a cohort.csv.")]
Patient = Annotated[
    str,
    typer.Option(
        "--patient",
        help="Regular expression that finds the patient in a field's name; 'field': each field is its own patient.",
    ),
]


@app.command(cls=Command, short_help="Write a synthetic cohort.")
def demo(
    folder: Annotated[str, typer.Argument(help="New folder.")],
    fields: Annotated[int, typer.Option(help="Number of fields.")] = 28,
    patients: Annotated[int, typer.Option(help="Number of patients; the first seven are named as in the paper.")] = 7,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH in pixels; 'full' is the paper's 1408x1876.")] = "256x384",
    seed: Annotated[int, typer.Option(help="Seed; the same seed gives the same bytes.")] = 0,
    difficulty: Annotated[
        str,
        typer.Option(
            help="easy; hard: dim and rare cells, autofluorescence, spill-over, gains of slides; packed: nuclei that "
            "fill the field and touch, with ids in the masks."
        ),
    ] = "easy",
) -> None:
    """Write a synthetic cohort in Van Buren's layout: component TIFFs, masks, outlines, cell tables."""
    from ..data.demo.cohort import demo_cohort

    cohort = demo_cohort(folder, fields=fields, patients=patients, size=_size(size), seed=seed, difficulty=difficulty)
    typer.echo(repr(cohort))


def _size(text: str) -> tuple[int, int]:
    if text == "full":
        from ..data.demo.cohort import FULL_SIZE

        return FULL_SIZE
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.strip().isdigit() for p in parts):
        raise UserError(f"size={text!r}: HEIGHTxWIDTH in pixels is needed, such as 256x384, or 'full'.")
    return int(parts[0]), int(parts[1])


@app.command(cls=Command, short_help="List what is wrong with which file.")
def check(
    folder: Folder,
    patient: Patient = "",
    channel: Annotated[str, typer.Option("--channel", help="Check these channels in every field (default: all).")] = "",
) -> None:
    """Read every file and list what is unmatched, unreadable or of the wrong size; exit code 1 if anything is."""
    from ..data.check import check_cohort
    from ..data.cohort import Cohort
    from ..data.pixels import parse_channels

    cohort = Cohort.load(folder, patient or None)
    typer.echo(repr(cohort))
    problems = check_cohort(cohort, parse_channels(channel) if channel else ())
    for problem in problems:
        typer.echo(problem)
    typer.echo(f"{len(problems)} problem{'s' if len(problems) != 1 else ''}")
    if problems:
        raise typer.Exit(1)


@app.command(cls=Command, short_help="Write a cohort.csv, or a mask from QuPath's outlines.")
def convert(
    source: Annotated[str, typer.Argument(help="Folder of fields, a cohort.csv, or QuPath's .geojson (.gz, .zip).")],
    out: Annotated[str, typer.Option("--out", help="File to write: a .csv, or the .tif of a mask.")],
    patient: Patient = "",
    split: Annotated[
        str, typer.Option("--split", help="Fill the split column too: auto, random, paper (default: unchanged).")
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of a random split.")] = 26,
    like: Annotated[str, typer.Option("--like", help="Of a .geojson: the image on which it was drawn.")] = "",
) -> None:
    """Write the fields of any layout as a cohort.csv, which can be edited and used with --data.

    With --like, write nuclei that were drawn or corrected in QuPath as a mask of that image, and their classes as a
    cell table next to it.
    """
    if like:
        if patient or split:
            raise UserError("`patient` and `split` are for fields: leave them out with `like`.")
        from ..data.drawn import write_drawn_mask

        typer.echo(write_drawn_mask(source, like, out))
        return
    if source.lower().endswith((".geojson", ".geojson.gz", ".geojson.zip")):
        raise UserError(f"{source} holds outlines: give the image on which they were drawn with `like`.")
    from ..data.cohort import Cohort
    from ..data.splits import split_cohort

    cohort = Cohort.load(source, patient or None)
    if split:
        cohort = split_cohort(cohort, split, seed)
    typer.echo(f"{cohort.save(out)}: {cohort!r}")


@app.command(cls=Command, short_help="Make one truth of the masks of several annotators.")
def consensus(
    folder: Folder,
    out: Annotated[str, typer.Option("--out", help="New folder: cohort.csv, masks/ and agreement.csv.")],
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            help="majority: pixels that more than half of the annotators mark; staple: annotators count by how "
            "sensitive and specific they are (extra 'staple').",
        ),
    ] = "majority",
    patient: Patient = "",
) -> None:
    """Write a cohort whose masks are the consensus of several annotators, and how far they agree.

    The masks of annotator A are in the column mask_A of a cohort.csv, or in masks/A/ beside images/.
    """
    from ..data.cohort import Cohort
    from ..scores.annotators.cohort import write_consensus
    from .tables.annotators import agreement_table

    agreement = write_consensus(Cohort.load(folder, patient or None), out, rule)
    typer.echo(f"{agreement_table(agreement)}\n\n{out}: cohort.csv, masks/, agreement.csv, agreement_fields.csv")
