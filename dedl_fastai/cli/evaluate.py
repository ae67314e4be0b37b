"""`dedl-fastai evaluate`: recompute all metrics of a run from its saved weights."""

from pathlib import Path
from typing import Annotated

import typer

from ..inference.options import SCALE


def evaluate(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Run folder, or folder with test folds; several runs are an ensemble."),
    ],
    data: Annotated[str, typer.Option("--data", help="Fields to evaluate (default: the run's own).")] = "",
    split: Annotated[
        str, typer.Option("--split", help="train, valid, test or all (default: test; with --data: all).")
    ] = "",
    channel: Annotated[
        str, typer.Option("--channel", help="Names of the model's channels in these files, such as blue.")
    ] = "",
    part_by: Annotated[
        str,
        typer.Option("--part-by", help="Separate touching nuclei by distance (to the rim), or by intensity (of DAPI)."),
    ] = "distance",
    scale: Annotated[
        str,
        typer.Option(
            "--scale", help="Magnify fields for the network: none, auto (so that nuclei look as in training), a FACTOR."
        ),
    ] = SCALE,
    which: Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")] = "best",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    out: Annotated[
        str, typer.Option("--out", help="JSON file for the metrics; nuclei are written to FILE_objects.csv.")
    ] = "",
) -> None:
    """Recompute the metrics of a run, or of an ensemble, over whole fields, on its own cohort or on another one.

    Where masks contain ids of nuclei, nuclei are counted and matched too.
    """
    from ..io.files import write_json
    from ..runs.evaluation import evaluate_run
    from ..runs.segmentation.evaluation import write_objects
    from .tables import classification, segmentation

    how = {"channel": channel, "part_by": part_by, "scale": scale}
    metrics = evaluate_run(runs, data=data, split=split, which=which, device=device, **how)
    if out:
        write_json(out, metrics)
        write_objects(Path(out).with_name(f"{Path(out).stem}_objects.csv"), metrics)
    tables = segmentation if metrics["task"] == "segmentation" else classification
    typer.echo(tables.test_fold_table(metrics) if "folds" in metrics else tables.metrics_table(metrics))
