"""`dedl-fastai predict`: masks, cells and tables of new fields, or their classes, from one run or an ensemble."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError

_KINDS = "mask, labels, cells, geojson, probability, uncertainty, overlay, neighbours, parquet, rois, h5ad; or all"


def predict(
    paths: Annotated[list[str], typer.Argument(metavar="RUN... INPUT...", help="Run folders, then images or folders.")],
    out: Annotated[str, typer.Option("--out", help="Folder of the results.")] = "predictions",
    write: Annotated[
        str, typer.Option("--write", help=f"Of a segmentation, with commas between: {_KINDS}.")
    ] = "mask,labels,cells,geojson",
    rules: Annotated[
        str, typer.Option("--rules", help="Phenotype rules for the cells: tfh5, vanburen3, or a FILE.")
    ] = "",
    thresholds: Annotated[
        str,
        typer.Option(
            "--thresholds",
            help="Mean intensity above which a marker is positive, as CD19=1.2,CD4=3; Otsu's in each field without.",
        ),
    ] = "",
    ring: Annotated[
        float, typer.Option("--ring", help="Width of the ring around a nucleus that is measured, in um.")
    ] = 2.0,
    radius: Annotated[
        float, typer.Option("--radius", help="Distance of centres up to which cells are neighbours, in um.")
    ] = 30.0,
    min_area: Annotated[float, typer.Option("--min-area", help="Smaller objects are dropped, in um2.")] = 10.0,
    part_by: Annotated[
        str, typer.Option("--part-by", help="Nuclei that touch are parted by distance (to the rim), or by intensity.")
    ] = "distance",
    channel: Annotated[
        str, typer.Option("--channel", help="What the model's channels are called in these files, such as blue.")
    ] = "",
    pixel_size: Annotated[
        float, typer.Option("--pixel-size", help="Edge of a pixel in um, for files that do not say theirs.")
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write again what is there already.")] = False,
    which: Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")] = "best",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    engine: Annotated[str, typer.Option("--engine", help="What runs the network: torch, onnx, openvino.")] = "torch",
    amp: Annotated[str, typer.Option("--amp", help="Mixed precision: no, fp16 or bf16.")] = "no",
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Memory layout that convolutions on new GPUs like better.")
    ] = False,
    tta: Annotated[
        str, typer.Option("--tta", help="Mean over turned tiles: none, flips (4), dihedral (8, as many times slower).")
    ] = "none",
    bs: Annotated[int, typer.Option("--bs", help="Tiles that go through the network at a time.")] = 8,
    overlap: Annotated[
        float, typer.Option("--overlap", help="Share of a tile that its neighbour covers too, 0 to below 1.")
    ] = 0.25,
) -> None:
    """Predict new fields with one run, or with the mean of several.

    A segmentation writes files for each field, summary.csv and report.html; what is there already is kept, so that the
    same command goes on where it was stopped. A classification writes predictions.csv. A bad file is named and left
    out; the exit code is then 1.
    """
    runs = [p for p in paths if (Path(p) / "model.json").is_file()]
    inputs = [p for p in paths if p not in runs]
    if not runs or not inputs:
        raise UserError("predict needs a run folder and at least one image or folder: predict RUN INPUT --out DIR.")
    from ..experiment.cell_options import CellOptions, ModelOptions
    from ..experiment.predictions import predict_classes
    from ..experiment.segment import predict_cells
    from ..training.model_card import read_card
    from ..training.run_folder import RunFolder

    if read_card(RunFolder.existing(runs[0]))["task"] == "classification":
        failed = predict_classes(runs, inputs, out, which, device)
    else:
        options = CellOptions(write, rules, thresholds, ring, radius, min_area, part_by, channel, pixel_size, overwrite)
        model = ModelOptions(which, device, engine, amp, channels_last, tta, bs, overlap)
        failed = predict_cells(runs, inputs, out, options, model, _show_share if sys.stderr.isatty() else None)
    for message in failed:
        typer.echo(f"left out: {message}", err=True)
    typer.echo(f"results: {out}")
    if failed:
        raise typer.Exit(1)


def _show_share(field: str, share: float) -> None:
    """A line on the terminal that is written over, and gone when the field is done."""
    line = f"{field[:60]}: {share:4.0%}"
    typer.echo(f"\r{line}" if share < 1 else f"\r{' ' * len(line)}\r", nl=False, err=True)
