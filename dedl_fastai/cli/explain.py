"""`dedl-fastai explain`: draw which parts of a field are evidence for a class."""

from typing import Annotated

import typer


def explain(
    run: Annotated[str, typer.Argument(help="Run folder of a classification.")],
    image: Annotated[str, typer.Argument(help="Image file.")],
    label: Annotated[str, typer.Argument(help="Class, such as tfh217.")],
    out: Annotated[str, typer.Option("--out", help="PNG file to write.")] = "explanation.png",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Draw the class activation map of a field over its picture. Needs the extra "explain"."""
    from ..runs.explanation import draw_explanation

    probability = draw_explanation(run, image, label, out=out, device=device)
    typer.echo(f"{out}: probability of {label} {probability:.3f}")
