"""What `seg` and `clf` have in common: start or continue a run, and say how to go on when it is interrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..experiment.options import Options

OutOption = Annotated[str, typer.Option("--out", help="Folder of the run (default: runs/<task>-<time>).")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue the unfinished run in --out, with its own options.")
]


def run_training(
    task: str, kind: type[Options], given: dict, out: str, resume: bool, train: Callable[[Options, Path], str]
) -> None:
    """Train with the options given and print the table that `train` returns."""
    from ..experiment.start import start_run

    options, folder = start_run(task, kind, given, out, resume)
    try:
        table = train(options, folder)
    except KeyboardInterrupt:
        typer.echo(f"\nstopped. Go on with: dedl-fastai {task} --out {folder} --resume", err=True)
        raise typer.Exit(130) from None
    except RuntimeError as e:
        if type(e).__name__ != "OutOfMemoryError":
            raise
        raise UserError(f"the GPU's memory is too small for a batch of {options.bs}: use a smaller --bs.") from e
    typer.echo(f"{table}\n\nrun folder: {folder}")
