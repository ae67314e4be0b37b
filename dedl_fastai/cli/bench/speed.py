"""`dedl-fastai bench speed`: tiles per second on this machine, and a comparison with an earlier file."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ...errors import UserError
from ...runs.options.base import numbers


def speed(
    models: Annotated[
        str, typer.Option("--models", help="Decoder/encoder, separated by commas.")
    ] = "unet/resnet18,unet/efficientnet-b0",
    decoder: Annotated[str, typer.Option("--decoder", help="Decoder channels, separated by commas.")] = "",
    tile: Annotated[int, typer.Option("--tile", help="Tile edge in pixels.")] = 480,
    bs: Annotated[int, typer.Option("--bs", help="Tiles per batch.")] = 16,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of each variant in turn.")] = 5,
    parts: Annotated[
        str, typer.Option("--parts", help="Any of train,app,engines,loader.")
    ] = "train,app,engines,loader",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    out: Annotated[str, typer.Option("--out", help="JSON file for the numbers.")] = "speed.json",
    against: Annotated[str, typer.Option("--against", help="An earlier JSON file to compare with.")] = "",
) -> None:
    """Time training (fp32, bf16, channels_last, compile), APP, engines and loader; print a table, write JSON."""
    pairs = [m.strip().partition("/") for m in models.split(",") if m.strip()]
    if not pairs or not all(slash for _, slash, _ in pairs):
        raise UserError(f"--models {models!r}: decoder/encoder is needed, such as unet/resnet18, separated by commas.")
    chosen = [p.strip() for p in parts.split(",") if p.strip()]
    before = _read(Path(against)) if against else None
    if against and Path(out).exists() and Path(out).samefile(against):
        raise UserError(f"--against {against} would be overwritten by --out {out}: give another --out.")
    from ...bench.speed.overview import PARTS, speed, speed_lines
    from ...io.files import write_json

    unknown = [p for p in chosen if p not in PARTS]
    if unknown or not chosen:
        raise UserError(f"--parts {parts!r}: the parts are {', '.join(PARTS)}.")
    speeds = speed(
        [(arch, encoder) for arch, _, encoder in pairs],
        decoder=numbers(decoder, "decoder"),
        tile=tile,
        bs=bs,
        rounds=rounds,
        parts=chosen,
        device=device,
    )
    write_json(Path(out), speeds)
    typer.echo("\n".join(speed_lines(speeds, before)))
    typer.echo(f"numbers: {out}")


def _read(path: Path) -> dict[str, Any]:
    try:
        speeds = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise UserError(f"--against {path} is not a file of `bench speed` ({e}).") from e
    if not isinstance(speeds, dict) or "hardware" not in speeds:
        raise UserError(f"--against {path} is not a file of `bench speed` (it names no hardware).")
    return speeds
