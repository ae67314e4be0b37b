"""`dedl-fastai predict`: masks, cells and tables of new fields, or their classes, from one run or an ensemble."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError


def predict(
    paths: Annotated[list[str], typer.Argument(metavar="RUN... INPUT...", help="Run folders, then images or folders.")],
    out: Annotated[str, typer.Option("--out", help="Folder of the results.")] = "predictions",
    write: Annotated[
        str,
        typer.Option("--write", help="Of a segmentation: mask,labels,cells,geojson,probability,uncertainty,rois,h5ad."),
    ] = "mask,labels,cells,geojson",
    rules: Annotated[
        str, typer.Option("--rules", help="Phenotype rules for the cells: tfh5, vanburen3, or a FILE.")
    ] = "",
    thresholds: Annotated[
        str, typer.Option("--thresholds", help="Intensity above which a marker is positive, as CD19=1.2,CD4=3.")
    ] = "",
    ring: Annotated[
        float, typer.Option("--ring", help="Width of the ring around a nucleus that is measured, in um.")
    ] = 2.0,
    channel: Annotated[
        str, typer.Option("--channel", help="What the model's channels are called in these files, such as blue.")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write again what is there already.")] = False,
    which: Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")] = "best",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Predict new fields with one run, or with the mean of several.

    A segmentation writes files for each field and a summary.csv, a classification writes predictions.csv. A bad file
    is named and left out; the exit code is then 1.
    """
    runs = [p for p in paths if (Path(p) / "model.json").is_file()]
    inputs = [p for p in paths if p not in runs]
    if not runs or not inputs:
        raise UserError("predict needs a run folder and at least one image or folder: predict RUN INPUT --out DIR.")
    from ..experiment.predictions import predict_classes
    from ..experiment.segment import CellOptions, predict_cells
    from ..training.model_card import read_card
    from ..training.run_folder import RunFolder

    if read_card(RunFolder.existing(runs[0]))["task"] == "classification":
        failed = predict_classes(runs, inputs, out, which, device)
    else:
        options = CellOptions(write, rules, thresholds, ring, overwrite, channel)
        failed = predict_cells(runs, inputs, out, options, which, device)
    for message in failed:
        typer.echo(f"left out: {message}", err=True)
    typer.echo(f"results: {out}")
    if failed:
        raise typer.Exit(1)
