"""`dedl-fastai predict`: masks, cells and tables of new fields, or their classes, from one run or an ensemble."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError

_KINDS = "mask, labels, cells, geojson, probability, uncertainty, overlay, neighbours, parquet, rois, h5ad; or all"
_ABOVE = "Mean intensity above which a marker is positive, as CD19=1.2,CD4=3; Otsu's in each field without."
_LAYOUT = "Memory layout that convolutions on new GPUs like better."
_OVERLAP = "Share of a tile that its neighbour covers too, 0 to below 1; the run's own without."
_OF_ANY_RUN = ("paths", "out", "which", "device")  # the other options are for segmentations

Paths = Annotated[list[str], typer.Argument(metavar="RUN... INPUT...", help="Run folders, then images or folders.")]
Out = Annotated[str, typer.Option("--out", help="Folder of the results.")]
Write = Annotated[str, typer.Option("--write", help=f"Of a segmentation, with commas between: {_KINDS}.")]
RulesFile = Annotated[str, typer.Option("--rules", help="Phenotype rules for the cells: tfh5, vanburen3, or a FILE.")]
Thresholds = Annotated[str, typer.Option("--thresholds", help=_ABOVE)]
Ring = Annotated[float, typer.Option("--ring", help="Width of the ring around a nucleus that is measured, in um.")]
Radius = Annotated[float, typer.Option("--radius", help="Distance of centres up to which cells are neighbours, in um.")]
MinArea = Annotated[float, typer.Option("--min-area", help="Smaller objects are dropped, in um2.")]
PartBy = Annotated[str, typer.Option(help="Nuclei that touch are parted by distance (to the rim), or by intensity.")]
Channel = Annotated[str, typer.Option(help="What the model's channels are called in these files, such as blue.")]
PixelSize = Annotated[float, typer.Option(help="Edge of a pixel in um, for files that do not say theirs.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write again what is there already.")]
Which = Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Engine = Annotated[str, typer.Option("--engine", help="What runs the network: torch, onnx, openvino.")]
Amp = Annotated[str, typer.Option("--amp", help="Mixed precision: no, fp16 or bf16.")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help=_LAYOUT)]
Tta = Annotated[str, typer.Option(help="Mean over turned tiles: none, flips (4), dihedral (8, as many times slower).")]
BatchSize = Annotated[int, typer.Option("--bs", help="Tiles that go through the network at a time.")]
Overlap = Annotated[float | None, typer.Option(help=_OVERLAP)]


def predict(
    ctx: typer.Context,
    paths: Paths,
    out: Out = "predictions",
    write: Write = "mask,labels,cells,geojson",
    rules: RulesFile = "",
    thresholds: Thresholds = "",
    ring: Ring = 2.0,
    radius: Radius = 30.0,
    min_area: MinArea = 10.0,
    part_by: PartBy = "distance",
    channel: Channel = "",
    pixel_size: PixelSize = 0,
    overwrite: Overwrite = False,
    which: Which = "best",
    device: Device = "auto",
    engine: Engine = "torch",
    amp: Amp = "no",
    channels_last: ChannelsLast = False,
    tta: Tta = "none",
    bs: BatchSize = 8,
    overlap: Overlap = None,
) -> None:
    """Predict new fields with one run, or with the mean of several.

    A segmentation writes files for each field, summary.csv and report.html; what is there already is kept, so that the
    same command goes on where it was stopped. A classification writes predictions.csv, and takes --out, --which
    and --device only. A bad file is named and left out; the exit code is then 1.
    """
    runs = [p for p in paths if (Path(p) / "model.json").is_file()]
    inputs = [p for p in paths if p not in runs]
    if not runs or not inputs:
        raise UserError("predict needs a run folder and at least one image or folder: predict RUN INPUT --out DIR.")
    from ..predict.cells import CellOptions, ModelOptions, predict_cells
    from ..predict.classes import predict_classes
    from ..training.model_card import read_card
    from ..training.run_folder import RunFolder

    if read_card(RunFolder.existing(runs[0]))["task"] == "classification":
        _check_of_any_run(ctx)
        failed = predict_classes(runs, inputs, out, which, device)
    else:
        cells = (write, rules, thresholds, ring, radius, min_area, part_by, channel, pixel_size, overwrite)
        model = ModelOptions(which, device, engine, amp, channels_last, tta, bs, overlap)
        tell = _show_share if sys.stderr.isatty() else None
        failed = predict_cells(runs, inputs, out, CellOptions(*cells), model, tell)
    for message in failed:
        typer.echo(f"left out: {message}", err=True)
    typer.echo(f"results: {out}")
    if failed:
        raise typer.Exit(1)


def _check_of_any_run(ctx: typer.Context) -> None:
    """`UserError` that names the first option given that a classification has no use for."""
    for name in ctx.params:  # in the order of the command line
        source = ctx.get_parameter_source(name)
        if name not in _OF_ANY_RUN and source is not None and source.name != "DEFAULT":
            raise UserError(f"--{name.replace('_', '-')} is for segmentations: this run is a classification.")


def _show_share(field: str, share: float) -> None:
    """A line on the terminal that is written over, and gone when the field is done."""
    line = f"{field[:60]}: {share:4.0%}"
    typer.echo(f"\r{line}" if share < 1 else f"\r{' ' * len(line)}\r", nl=False, err=True)
