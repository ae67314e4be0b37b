"""`dedl-fastai bench`: its commands, in the order of the help."""

import typer

from ..command import Command
from .anchors import anchors
from .correction import correction
from .grid import report, run
from .measurements import app_cost, engines, loader, slide, step
from .prediction import predict, startup
from .speed import speed
from .tables import list_tables

app = typer.Typer(no_args_is_help=True, help="The paper's tables as grids of runs; speeds of this machine.")
app.command("list", cls=Command, short_help="The paper's tables, their runs and hours here.")(list_tables)
app.command(cls=Command, short_help="The runs of a table, and their report.")(run)
app.command(cls=Command, short_help="Results of a grid next to the published values.")(report)
app.command(cls=Command, short_help="StarDist, Cellpose and others beside our runs.")(anchors)
app.command(cls=Command, short_help="F1 against nuclei that a simulated annotator corrects.")(correction)
app.command(cls=Command, short_help="Training, APP, engines and loader; comparison.")(speed)
app.command(cls=Command, short_help="Tiles from the cache, from TIFFs and from .npy.")(loader)
app.command(cls=Command, short_help="A training step and a bare PyTorch loop.")(step)
app.command("app-cost", cls=Command, short_help="Training steps with and without APP.")(app_cost)
app.command(cls=Command, short_help="A whole slide: memory, time, and the window's share.")(slide)
app.command(cls=Command, short_help="PyTorch, ONNX Runtime and OpenVINO on the same tiles.")(engines)
app.command(cls=Command, short_help="The whole predict: seconds by stage, share of the network.")(predict)
app.command(cls=Command, short_help="The start of each command.")(startup)
