"""`dedl-fastai predict`: find cells in new fields, or classify the fields, with one run or an ensemble."""

import dataclasses
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError
from ..models.names import NUCLEI
from ..predict.options import CellOptions, ModelOptions
from .clusters import DaskSlurm, Scheduler, chosen_workers
from .options import with_options

_FOR_ANY_RUN = ("which", "device")  # the other options are for segmentations

Paths = Annotated[list[str], typer.Argument(metavar="RUN... INPUT...", help="Run folders, then images or folders.")]
Out = Annotated[str, typer.Option("--out", help="Folder of the results.", rich_help_panel="Results")]


@with_options(CellOptions, ModelOptions)
def predict(
    given: dict, paths: Paths, out: Out = "predictions", scheduler: Scheduler = "", dask_slurm: DaskSlurm = 0
) -> None:
    """Predict new fields with one run, or with the mean prediction of several.

    `nuclei` in place of a run is the model of nuclei that comes with the package: predict nuclei INPUT.

    A segmentation writes files for each field, summary.csv and report.html. It keeps existing results, so that the same
    command continues where it was stopped. A classification writes predictions.csv; it accepts only --out, --which
    and --device. A damaged file is reported and left out; the exit code is then 1.
    """
    runs = [p for p in paths if p == NUCLEI or (Path(p) / "model.json").is_file()]
    inputs = [p for p in paths if p not in runs]
    if not runs or not inputs:
        raise UserError(
            "predict needs a run folder, or nuclei (the model that comes with the package), and at least one image or "
            "folder: predict RUN INPUT --out DIR, or predict nuclei INPUT --out DIR."
        )
    from ..training.model_card import read_card
    from ..training.run_folder import RunFolder

    where = {name: value for name, value in (("scheduler", scheduler), ("dask_slurm", dask_slurm)) if value}
    if read_card(RunFolder.existing(runs[0]))["task"] == "classification":
        failed = _classes(runs, inputs, out, {**given, **where})
    else:
        workers = chosen_workers(given.get("jobs", 1), scheduler, dask_slurm, shared=out)
        failed = _cells(runs, inputs, out, given, workers=workers)
    for message in failed:
        typer.echo(f"left out: {message}", err=True)
    typer.echo(f"results: {out}")
    if failed:
        raise typer.Exit(1)


def _classes(runs: list[str], inputs: list[str], out: str, given: dict[str, Any]) -> list[str]:
    from ..predict.classes import predict_classes

    unused = next((name for name in given if name not in _FOR_ANY_RUN), None)
    if unused:
        raise UserError(f"`{unused}` is for segmentations: this run is a classification.")
    return predict_classes(runs, inputs, out, **given)


def _cells(
    runs: list[str], inputs: list[str], out: str, given: dict[str, Any], *, workers: AbstractContextManager[Any]
) -> list[str]:
    from ..io.locks import alone_in
    from ..predict.cells import predict_cells

    cell_names = {f.name for f in dataclasses.fields(CellOptions)}
    cells = CellOptions(**{n: v for n, v in given.items() if n in cell_names})
    model = ModelOptions(**{n: v for n, v in given.items() if n not in cell_names})
    progress = _show_share if sys.stderr.isatty() else None
    with alone_in(out), workers as used:
        return predict_cells(runs, inputs, out, options=cells, model=model, progress=progress, workers=used)


def _show_share(field: str, share: float) -> None:
    """Show the share of a field that is done, in one line that is overwritten, and erased at the end."""
    line = f"{field[:60]}: {share:4.0%}"
    typer.echo(f"\r{line}" if share < 1 else f"\r{' ' * len(line)}\r", nl=False, err=True)
