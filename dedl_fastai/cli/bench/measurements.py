"""`dedl-fastai bench loader`, `step`, `app-cost`, `slide`, `engines`: ratios measured in one run on this machine."""

import json
from typing import Annotated

import typer

from ...runs.options.base import numbers

Arch = Annotated[str, typer.Option(help="Decoder.")]
Encoder = Annotated[str, typer.Option(help="Encoder.")]
Decoder = Annotated[str, typer.Option(help="Decoder channels, separated by commas.")]
TileEdge = Annotated[int, typer.Option(help="Tile edge in pixels.")]
BatchSize = Annotated[int, typer.Option(help="Tiles per batch.")]
Amp = Annotated[str, typer.Option(help="no, fp16, bf16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


def loader(
    fields: Annotated[int, typer.Option(help="Number of synthetic fields of the paper's size.")] = 2,
    tile: TileEdge = 480,
) -> None:
    """Time an epoch of tiles without a model: from the cache, from TIFFs, from .npy tiles. Prints JSON."""
    from ...bench.speed.loader import loader_speed

    typer.echo(json.dumps(loader_speed(fields, tile=tile), indent=2))


def step(
    arch: Arch = "unet",
    encoder: Encoder = "efficientnet-b0",
    decoder: Decoder = "",
    tile: TileEdge = 128,
    bs: BatchSize = 16,
    amp: Amp = "no",
    channels_last: Annotated[bool, typer.Option(help="Memory format of the tensors.")] = False,
    steps: Annotated[int, typer.Option(help="Steps per round.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each loop in turn.")] = 6,
    device: Device = "auto",
) -> None:
    """Time the Learner's training step and a bare loop over the same model and batches. Prints JSON."""
    from ...bench.speed.step import step_cost

    widths = numbers(decoder, "decoder")
    cost = step_cost(
        arch,
        encoder,
        decoder=widths,
        tile=tile,
        bs=bs,
        amp=amp,
        channels_last=channels_last,
        steps=steps,
        rounds=rounds,
        device=device,
    )
    typer.echo(json.dumps(cost, indent=2))


def app_cost(
    arch: Arch = "unet",
    encoder: Encoder = "efficientnet-b0",
    decoder: Decoder = "",
    tile: TileEdge = 480,
    bs: BatchSize = 16,
    amp: Amp = "no",
    rows: Annotated[str, typer.Option(help="Shares of the rows, separated by commas.")] = "0.25,1",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each variant in turn.")] = 5,
    device: Device = "auto",
) -> None:
    """Measure time and peak memory of training steps with and without APP. Prints JSON."""
    from ...bench.speed.app_cost import app_cost

    widths, shares = numbers(decoder, "decoder"), numbers(rows, "rows", float)
    cost = app_cost(arch, encoder, decoder=widths, tile=tile, bs=bs, amp=amp, rows=shares, rounds=rounds, device=device)
    typer.echo(json.dumps(cost, indent=2))


def slide(
    size: Annotated[int, typer.Option(help="Edge of the synthetic slide in pixels.")] = 20000,
    encoder: Annotated[str, typer.Option(help="Encoder [a tiny one, to measure the rest].")] = "",
    tile: TileEdge = 480,
    window: Annotated[
        bool, typer.Option("--window", help="Compare only the window with its network, on a field.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Measure peak memory and time of a prediction, from a synthetic slide to its cells. Prints JSON."""
    from ...bench.speed.slide import slide_cost, window_overhead

    if window:
        cost = window_overhead(size, encoder=encoder or "resnet18", tile=tile, device=device)
    elif encoder:
        cost = slide_cost(size, encoder=encoder, depth=3, decoder=(), tile=tile, device=device)
    else:
        cost = slide_cost(size, tile=tile, device=device)
    typer.echo(json.dumps(cost, indent=2))


def engines(
    of: Annotated[str, typer.Option("--run", help="A segmentation run, on real tiles [a new network, on noise].")] = "",
    data: Annotated[str, typer.Option(help="Fields for --run [the run's own].")] = "",
    arch: Arch = "unet",
    encoder: Encoder = "efficientnet-b0",
    decoder: Decoder = "",
    tile: TileEdge = 480,
    bs: BatchSize = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each engine in turn.")] = 5,
    device: Device = "auto",
) -> None:
    """Time the engines of `predict` and compare their results with PyTorch's in float32. Prints JSON."""
    from ...bench.speed.engines import engine_speed, run_engine_speed

    if of:
        speeds = run_engine_speed(of, data, bs=bs, rounds=rounds, device=device)
    else:
        widths = numbers(decoder, "decoder")
        speeds = engine_speed(arch, encoder, decoder=widths, tile=tile, bs=bs, rounds=rounds, device=device)
    typer.echo(json.dumps(speeds, indent=2))
