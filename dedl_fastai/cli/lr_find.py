"""`dedl-fastai lr-find`: the learning-rate curve of a run, and a suggested rate."""

from typing import Annotated

import typer

from ..runs.options.clf import ClfConfig
from ..runs.options.seg import SegConfig
from .command import Command
from .options import with_options

app = typer.Typer(no_args_is_help=True, help="Find a learning rate.")


OutOption = Annotated[str, typer.Option("--out", help="Folder for lr_find.png and lr_find.csv.")]
StepsOption = Annotated[int, typer.Option("--steps", min=20, help="Number of batches over which the rate is raised.")]


@app.command(cls=Command, short_help="For a segmentation model.")
@with_options(SegConfig)
def seg(given: dict, out: OutOption = ".", steps: StepsOption = 100) -> None:
    """Draw the learning-rate curve of a segmentation run with these options, and suggest a rate."""
    _find("seg", SegConfig, given, out=out, steps=steps)


@app.command(cls=Command, short_help="For a classification model.")
@with_options(ClfConfig)
def clf(given: dict, out: OutOption = ".", steps: StepsOption = 100) -> None:
    """Draw the learning-rate curve of a classification run with these options, and suggest a rate."""
    _find("clf", ClfConfig, given, out=out, steps=steps)


def _find(task: str, options_class: type[SegConfig] | type[ClfConfig], given: dict, *, out: str, steps: int) -> None:
    from ..runs.continued import complete_options
    from ..runs.learning_rate import find_lr

    suggestions = find_lr(options_class.resolve(complete_options(given, task)), out, steps)
    typer.echo(f"suggested: --lr {suggestions['valley']:.2g}   (valley of the curve)")
    typer.echo(f"a tenth of the minimum: {suggestions['minimum']:.2g}   steepest descent: {suggestions['steep']:.2g}")
    typer.echo(f"curve: {out}/lr_find.png, {out}/lr_find.csv")
