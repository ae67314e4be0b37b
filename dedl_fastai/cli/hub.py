"""`dedl-fastai hub`: give a run to others by the Hugging Face Hub, and fetch one."""

from typing import Annotated

import typer

from .command import Command

app = typer.Typer(no_args_is_help=True, help="Push a run to the Hugging Face Hub, or pull one.")
Repository = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub.")]


@app.command(cls=Command, short_help="Upload a run.")
def push(
    run: Annotated[str, typer.Argument(help="Folder of a finished run.")],
    repository: Repository,
    which: Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")] = "best",
    public: Annotated[bool, typer.Option("--public", help="Let a new repository be seen by everyone.")] = False,
) -> None:
    """Upload a run: README.md (the model card), weights in half precision, and JSON files; no picture, no pickle.

    It needs a token (hf auth login, or the variable HF_TOKEN). A new repository is private unless --public is given.
    Read README.md first and name a licence in it; splits.json has the names of the fields and patients.
    """
    from ..runs.hub import push_run

    typer.echo(push_run(run, repository, which, public))


@app.command(cls=Command, short_help="Download a run.")
def pull(
    repository: Repository,
    out: Annotated[str, typer.Option("--out", help="New folder of the run.")],
    revision: Annotated[str, typer.Option("--revision", help="Commit, branch or tag (default: the newest).")] = "",
) -> None:
    """Download a run that was pushed, for predict, evaluate and seg --weights."""
    from ..runs.hub import pull_run

    typer.echo(f"run folder: {pull_run(repository, out, revision or None).path}")
