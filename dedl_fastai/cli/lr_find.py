"""`dedl-fastai lr-find`: the learning-rate curve of a run, before it is trained."""

from typing import Annotated

import typer

from ..runs.options.base import Options
from ..runs.options.clf import ClfConfig
from ..runs.options.seg import SegConfig
from .command import Command
from .options import with_options

app = typer.Typer(no_args_is_help=True, help="Find a learning rate.")


Out = Annotated[str, typer.Option("--out", help="Folder for lr_find.png and lr_find.csv.")]
Steps = Annotated[int, typer.Option("--steps", min=20, help="Batches over which the rate rises.")]


@app.command(cls=Command, short_help="For a segmentation model.")
@with_options(SegConfig)
def seg(given: dict, out: Out = ".", steps: Steps = 100) -> None:
    """Learning-rate curve of a segmentation run with these options."""
    _find("seg", SegConfig, given, out, steps)


@app.command(cls=Command, short_help="For a classification model.")
@with_options(ClfConfig)
def clf(given: dict, out: Out = ".", steps: Steps = 100) -> None:
    """Learning-rate curve of a classification run with these options."""
    _find("clf", ClfConfig, given, out, steps)


def _find(task: str, options_class: type[Options], given: dict, out: str, steps: int) -> None:
    from ..runs.cohort import with_demo_data
    from ..runs.learning_rate import find_lr

    found = find_lr(options_class.resolve(with_demo_data(given, task)), out, steps)
    typer.echo(f"suggested: --lr {found['valley']:.2g}   (valley of the curve)")
    typer.echo(f"a tenth of the minimum: {found['minimum']:.2g}   steepest descent: {found['steep']:.2g}")
    typer.echo(f"curve: {out}/lr_find.png, {out}/lr_find.csv")
