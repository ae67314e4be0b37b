"""`dedl-fastai predict`: classes and their probabilities for new fields, as a CSV."""

from typing import Annotated

import typer


def predict(
    run: Annotated[str, typer.Argument(help="Run folder of a classification.")],
    inputs: Annotated[list[str], typer.Argument(help="Image files, or folders of fields.")],
    out: Annotated[str, typer.Option("--out", help="The CSV to write.")] = "predictions.csv",
    which: Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")] = "best",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Write the probability of each class and the labels of each field; a bad file is named and left out.

    Exit code 1 if any file did not read.
    """
    from ..experiment.predictions import predict_classes

    failed = predict_classes(run, inputs, out, which, device)
    for message in failed:
        typer.echo(f"left out: {message}", err=True)
    typer.echo(out)
    if failed:
        raise typer.Exit(1)
