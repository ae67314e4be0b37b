"""`dedl-fastai bench`: its commands, in the order of the help."""

import typer

from ..command import Command
from .grid import report, run
from .measurements import app_cost, engines, loader, slide, step
from .speed import speed
from .tables import list_tables

app = typer.Typer(no_args_is_help=True, help="Tables of runs; speeds of this machine.")
app.command("list", cls=Command, short_help="The paper's tables, their runs, hours here.")(list_tables)
app.command(cls=Command, short_help="A table of the paper: its runs, reported beside it.")(run)
app.command(cls=Command, short_help="What a grid came to, beside the paper.")(report)
app.command(cls=Command, short_help="Training, APP, engines, loader; against earlier.")(speed)
app.command(cls=Command, short_help="Tiles from the cache against TIFFs and .npy.")(loader)
app.command(cls=Command, short_help="A training step against a bare PyTorch loop.")(step)
app.command("app-cost", cls=Command, short_help="A training step with APP against one without.")(app_cost)
app.command(cls=Command, short_help="A whole slide: memory, time, and the window's share.")(slide)
app.command(cls=Command, short_help="PyTorch, ONNX Runtime and OpenVINO on the same tiles.")(engines)
