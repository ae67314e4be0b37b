"""The command line, one module per command. Heavy imports are inside the commands, so that --help is quick."""

import logging
import os
import sys
import warnings

import typer

from .bench.app import app as bench_app
from .clf import clf
from .command import Command
from .correct import correct
from .data import app as data_app
from .doctor import doctor
from .evaluate import evaluate
from .explain import explain
from .export import export
from .gate import gate
from .hub import app as hub_app
from .lr_find import app as lr_find_app
from .neighbours import neighbours
from .predict import predict
from .report import report
from .seg import seg
from .view import view

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, measure and apply deep learning on multiplex immunofluorescence fields. Try: dedl-fastai seg",
)
app.command(cls=Command, short_help="Train a segmentation model.")(seg)
app.command(cls=Command, short_help="Train a classification model.")(clf)
app.command(cls=Command, short_help="Recompute the metrics of a run.")(evaluate)
app.command(cls=Command, short_help="Find cells in new fields, or classify them.")(predict)
app.command(cls=Command, short_help="Find the cut-offs of markers, with pictures.")(gate)
app.command(cls=Command, short_help="Look at results in the browser, and correct them.")(view)
app.command(cls=Command, short_help="Let tables and counts follow the corrections.")(correct)
app.command(cls=Command, short_help="Find which cell types are neighbours, and compare groups of patients.")(neighbours)
app.command(cls=Command, short_help="Write the report of results again, or one for the SITC checklist.")(report)
app.command(cls=Command, short_help="Draw which parts of a field are evidence for a class.")(explain)
app.command(cls=Command, short_help="Write a run's network as ONNX or a torch program.")(export)
app.add_typer(lr_find_app, name="lr-find")
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(hub_app, name="hub")
app.command(cls=Command, short_help="Show versions, devices and caches.")(doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _set_up(
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Show warnings and results only."),
    version: bool = typer.Option(False, "--version", help="Show the version.", is_eager=True, callback=_show_version),
) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("dedl_fastai").setLevel(logging.WARNING if quiet else logging.INFO)
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning:torch.jit._script")  # in child processes
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")  # fastai's import
    warnings.filterwarnings("ignore", message="numpy.core is deprecated")  # fastai's load


def main() -> None:
    """Entry point of `dedl-fastai`."""
    app(prog_name="dedl-fastai")
