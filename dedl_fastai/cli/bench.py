"""`dedl-fastai bench`: tables of runs, and speeds as ratios taken in one run on this machine."""

import json
from typing import Annotated

import typer

from ..errors import UserError
from ..experiment.config import SegConfig
from ..experiment.options import numbers
from .options import with_options

app = typer.Typer(no_args_is_help=True, help="Tables of runs; speeds of this machine.")
Arch = Annotated[str, typer.Option(help="Decoder.")]
Encoder = Annotated[str, typer.Option(help="Encoder.")]
Decoder = Annotated[str, typer.Option(help="Widths of the decoder, with commas between.")]
TileEdge = Annotated[int, typer.Option(help="Edge of a tile in pixels.")]
BatchSize = Annotated[int, typer.Option(help="Tiles a batch.")]
Amp = Annotated[str, typer.Option(help="no, fp16, bf16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


@app.command(short_help="Tiles from the cache against TIFFs and .npy.")
def loader(
    fields: Annotated[int, typer.Option(help="Made-up fields of the paper's size.")] = 2,
    tile: TileEdge = 480,
) -> None:
    """Time an epoch of tiles without a model: from the cache, decoding TIFFs, from .npy tiles. Prints JSON."""
    from ..bench.loader import loader_speed

    typer.echo(json.dumps(loader_speed(fields, tile=tile), indent=2))


@app.command(short_help="A training step against a bare PyTorch loop.")
def step(
    arch: Arch = "unet",
    encoder: Encoder = "efficientnet-b0",
    decoder: Decoder = "",
    tile: TileEdge = 128,
    bs: BatchSize = 16,
    amp: Amp = "no",
    channels_last: Annotated[bool, typer.Option(help="Memory format of the tensors.")] = False,
    steps: Annotated[int, typer.Option(help="Steps a round.")] = 5,
    rounds: Annotated[int, typer.Option(help="Rounds of each loop, by turns.")] = 6,
    device: Device = "auto",
) -> None:
    """Time the Learner's training step and a bare loop over the same model and batches. Prints JSON."""
    from ..bench.step import step_cost

    widths = numbers(decoder, "--decoder")
    cost = step_cost(arch, encoder, widths, tile, bs, amp, channels_last, steps, rounds, device)
    typer.echo(json.dumps(cost, indent=2))


@app.command("app-cost", short_help="A training step with APP against one without.")
def app_cost(
    arch: Arch = "unet",
    encoder: Encoder = "efficientnet-b0",
    decoder: Decoder = "",
    tile: TileEdge = 480,
    bs: BatchSize = 16,
    amp: Amp = "no",
    rows: Annotated[str, typer.Option(help="Shares of the rows, with commas between.")] = "0.25,1",
    rounds: Annotated[int, typer.Option(help="Rounds of each, by turns.")] = 5,
    device: Device = "auto",
) -> None:
    """Time and peak memory of training steps with and without APP. Prints JSON."""
    from ..bench.app_cost import app_cost

    widths, shares = numbers(decoder, "--decoder"), numbers(rows, "--rows", float)
    cost = app_cost(arch, encoder, widths, tile, bs, amp, shares, rounds, device)
    typer.echo(json.dumps(cost, indent=2))


@app.command(short_help="A table of runs: app-ablation.")
@with_options(SegConfig)
def run(
    given: dict,
    table: Annotated[str, typer.Argument(help="app-ablation: with and without APP, paired by seed.")],
    seeds: Annotated[str, typer.Option("--seeds", help="With commas between.")] = "26,77,334,517,994",
    rows: Annotated[str, typer.Option("--rows", help="Arms, with commas between (default: all).")] = "",
    out: Annotated[str, typer.Option("--out", help="Folder of the grid; finished runs in it are kept.")] = "",
) -> None:
    """Train every row of a table with every seed and report them side by side.

    All options of `seg` hold for each run. Stopped and started again, it goes on where it was.
    """
    if table != "app-ablation":
        raise UserError(f"the table {table!r} is unknown; it may be app-ablation.")
    from pathlib import Path

    from ..bench.ablation import run_ablation
    from ..bench.paired import write_report
    from ..experiment.inputs import with_demo_data

    folder = Path(out or f"grids/{table}")
    arms = [r.strip() for r in rows.split(",") if r.strip()]
    results = run_ablation(with_demo_data(given), numbers(seeds, "--seeds"), folder, arms)
    typer.echo(write_report(results, folder))
    typer.echo(f"report: {folder}/report.md, report.csv, report.png")
