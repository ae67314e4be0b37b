"""`dedl-fastai evaluate`: every metric again, from the saved weights."""

from typing import Annotated

import typer


def evaluate(
    run: Annotated[str, typer.Argument(help="Run folder.")],
    data: Annotated[str, typer.Option("--data", help="Other fields than the run's own.")] = "",
    split: Annotated[
        str, typer.Option("--split", help="train, valid, test or all (default: test; with --data: all).")
    ] = "",
    which: Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")] = "best",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    out: Annotated[str, typer.Option("--out", help="Write the metrics as JSON to this file.")] = "",
) -> None:
    """Recompute the metrics of a run over whole fields, on its own cohort or on another one."""
    from ..experiment.again import evaluate_run
    from ..io.files import write_json
    from .clf_report import clf_table
    from .report import metrics_table

    metrics = evaluate_run(run, data, split, which, device)
    if out:
        write_json(out, metrics)
    typer.echo((metrics_table if metrics["task"] == "segmentation" else clf_table)(metrics))
