"""`dedl-fastai clf`: train a classification model."""

from typing import Annotated

import typer

from ..errors import UserError
from ..experiment.clf_config import ClfConfig
from .options import OutOption, with_options


@with_options(ClfConfig)
def clf(
    given: dict,
    out: OutOption = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the unfinished run in --out, with its own options.")
    ] = False,
) -> None:
    """Train a model that tells which cell types a field holds, and measure it beside simple baselines.

    Without --data it runs on a made-up cohort. Ctrl-C leaves a run that --resume continues.
    """
    from ..experiment.start import start_run

    options, folder = start_run("clf", ClfConfig, given, out, resume)
    from ..experiment.clf import train_clf
    from ..experiment.members import train_members
    from .clf_report import clf_table, members_table

    has_members = bool(options.folds or options.seeds)
    try:
        metrics = (train_members if has_members else train_clf)(options, folder)
    except KeyboardInterrupt:
        typer.echo(f"\nstopped. Go on with: dedl-fastai clf --out {folder} --resume", err=True)
        raise typer.Exit(130) from None
    except RuntimeError as e:
        if type(e).__name__ != "OutOfMemoryError":
            raise
        raise UserError(f"the GPU's memory is too small for --bs {options.bs} at --size {options.size}.") from e
    typer.echo(members_table(metrics) if has_members else clf_table(metrics))
    typer.echo(f"\nrun folder: {folder}")
