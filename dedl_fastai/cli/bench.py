"""`dedl-fastai bench`: speeds, as ratios taken in one run on this machine."""

import json
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Measure this installation.")


@app.command(short_help="Tiles from the cache against TIFFs and .npy.")
def loader(
    fields: Annotated[int, typer.Option(help="Made-up fields of the paper's size.")] = 2,
    tile: Annotated[int, typer.Option(help="Edge of a tile in pixels.")] = 480,
) -> None:
    """Time an epoch of tiles without a model: from the cache, decoding TIFFs, from .npy tiles. Prints JSON."""
    from ..bench.loader import loader_speed

    typer.echo(json.dumps(loader_speed(fields, tile=tile), indent=2))


@app.command(short_help="A training step against a bare PyTorch loop.")
def step(
    arch: Annotated[str, typer.Option(help="Decoder.")] = "unet",
    encoder: Annotated[str, typer.Option(help="Encoder.")] = "efficientnet-b0",
    decoder: Annotated[str, typer.Option(help="Widths of the decoder, with commas between.")] = "",
    tile: Annotated[int, typer.Option(help="Edge of a tile in pixels.")] = 128,
    bs: Annotated[int, typer.Option(help="Tiles a batch.")] = 16,
    amp: Annotated[str, typer.Option(help="no, fp16, bf16.")] = "no",
    channels_last: Annotated[bool, typer.Option(help="Memory format of the tensors.")] = False,
    steps: Annotated[int, typer.Option(help="Steps a round.")] = 5,
    rounds: Annotated[int, typer.Option(help="Rounds of each loop, by turns.")] = 6,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Time the Learner's training step and a bare loop over the same model and batches. Prints JSON."""
    from ..bench.step import step_cost
    from ..experiment.options import numbers

    widths = numbers(decoder, "--decoder")
    cost = step_cost(arch, encoder, widths, tile, bs, amp, channels_last, steps, rounds, device)
    typer.echo(json.dumps(cost, indent=2))
