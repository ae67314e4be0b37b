"""`dedl-fastai lr-find`: the learning-rate curve of a run, before it is trained."""

from typing import Annotated

import typer

from ..experiment.config import SegConfig
from .options import with_options

app = typer.Typer(no_args_is_help=True, help="Find a learning rate.")


@app.command(short_help="For a segmentation model.")
@with_options(SegConfig)
def seg(
    given: dict,
    out: Annotated[str, typer.Option("--out", help="Folder for lr_find.png and lr_find.csv.")] = ".",
    steps: Annotated[int, typer.Option("--steps", min=20, help="Batches over which the rate rises.")] = 100,
) -> None:
    """Learning-rate curve of a segmentation run with these options."""
    from ..experiment.inputs import with_demo_data
    from ..experiment.lr_curve import find_lr

    found = find_lr(SegConfig.resolve(with_demo_data(given)), out, steps)
    typer.echo(f"suggested: --lr {found['valley']:.2g}   (valley of the curve)")
    typer.echo(f"a tenth of the minimum: {found['minimum']:.2g}   steepest descent: {found['steep']:.2g}")
    typer.echo(f"curve: {out}/lr_find.png, {out}/lr_find.csv")
