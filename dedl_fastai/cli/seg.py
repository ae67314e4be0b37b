"""`dedl-fastai seg`: train a segmentation model."""

from typing import Annotated

import typer

from ..errors import UserError
from ..experiment.config import SegConfig
from .options import OutOption, with_options


@with_options(SegConfig)
def seg(
    given: dict,
    out: OutOption = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the unfinished run in --out, with its own options.")
    ] = False,
) -> None:
    """Train a segmentation model of nuclei and measure it over whole fields.

    Without --data it runs on a made-up cohort. Ctrl-C leaves a run that --resume continues.
    """
    from ..experiment.start import start_run

    options, folder = start_run("seg", SegConfig, given, out, resume)
    from ..experiment.folds import train_folds
    from ..experiment.seg import train_seg
    from .report import fold_table, metrics_table

    try:
        metrics = train_folds(options, folder) if options.folds else train_seg(options, folder)
    except KeyboardInterrupt:
        typer.echo(f"\nstopped. Go on with: dedl-fastai seg --out {folder} --resume", err=True)
        raise typer.Exit(130) from None
    except RuntimeError as e:
        if type(e).__name__ != "OutOfMemoryError":
            raise
        raise UserError(f"the GPU's memory is too small for --bs {options.bs} tiles of {options.tile} px.") from e
    typer.echo(fold_table(metrics) if options.folds else metrics_table(metrics))
    typer.echo(f"\nrun folder: {folder}")
