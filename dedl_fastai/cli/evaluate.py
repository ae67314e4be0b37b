"""`dedl-fastai evaluate`: every metric again, from the saved weights."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run folder; several of a segmentation: their ensemble.")
    ],
    data: Annotated[str, typer.Option("--data", help="Other fields than the run's own.")] = "",
    split: Annotated[
        str, typer.Option("--split", help="train, valid, test or all (default: test; with --data: all).")
    ] = "",
    channel: Annotated[
        str, typer.Option("--channel", help="What the model's channels are called in these files, such as blue.")
    ] = "",
    part_by: Annotated[
        str,
        typer.Option("--part-by", help="How touching nuclei are parted: distance (to the rim), intensity (and DAPI)."),
    ] = "distance",
    which: Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")] = "best",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    out: Annotated[
        str, typer.Option("--out", help="Write the metrics as JSON to this file, and nuclei as FILE_objects.csv.")
    ] = "",
) -> None:
    """Recompute the metrics of a run, or of an ensemble, over whole fields, on its own cohort or on another one.

    Where masks hold ids of nuclei, nuclei are counted and matched too.
    """
    from ..io.files import write_json
    from ..runs.evaluation import evaluate_run
    from ..runs.segmentation.evaluation import write_objects
    from .tables.classification import clf_table
    from .tables.segmentation import metrics_table

    metrics = evaluate_run(runs, data, split, which, device, channel, part_by)
    if out:
        write_json(out, metrics)
        write_objects(Path(out).with_name(f"{Path(out).stem}_objects.csv"), metrics)
    typer.echo((metrics_table if metrics["task"] == "segmentation" else clf_table)(metrics))
