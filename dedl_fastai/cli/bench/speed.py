"""`dedl-fastai bench speed`: tiles a second on this machine, and against an earlier file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ...errors import UserError
from ...runs.options.base import numbers


def speed(
    models: Annotated[
        str, typer.Option("--models", help="Decoder/encoder, with commas between.")
    ] = "unet/resnet18,unet/efficientnet-b0",
    decoder: Annotated[str, typer.Option("--decoder", help="Widths of the decoder, with commas between.")] = "",
    tile: Annotated[int, typer.Option("--tile", help="Edge of a tile in pixels.")] = 480,
    bs: Annotated[int, typer.Option("--bs", help="Tiles a batch.")] = 16,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of each variant, by turns.")] = 5,
    parts: Annotated[
        str, typer.Option("--parts", help="Of train,app,engines,loader, with commas between.")
    ] = "train,app,engines,loader",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    out: Annotated[str, typer.Option("--out", help="JSON file of the numbers.")] = "speed.json",
    against: Annotated[str, typer.Option("--against", help="An earlier JSON file, set beside these numbers.")] = "",
) -> None:
    """Time training (fp32, bf16, channels_last, compile), APP, engines and the loader; a table and a JSON file."""
    pairs = [tuple(m.strip().split("/", 1)) for m in models.split(",") if m.strip()]
    if not pairs or any(len(p) != 2 for p in pairs):
        raise UserError(f"--models {models!r}: write decoder/encoder, such as unet/resnet18, with commas between.")
    chosen = [p.strip() for p in parts.split(",") if p.strip()]
    before = _read(Path(against)) if against else None
    if against and Path(out).exists() and Path(out).samefile(against):
        raise UserError(f"--against {against} is the file that --out {out} would overwrite: give another --out.")
    from ...bench.speed.overview import PARTS, speed, speed_lines
    from ...io.files import write_json

    unknown = [p for p in chosen if p not in PARTS]
    if unknown or not chosen:
        raise UserError(f"--parts {parts!r}: it may hold {', '.join(PARTS)}.")
    found = speed(pairs, numbers(decoder, "decoder"), tile, bs, rounds, chosen, device)
    write_json(Path(out), found)
    typer.echo("\n".join(speed_lines(found, before)))
    typer.echo(f"numbers: {out}")


def _read(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise UserError(f"--against {path} is no file of `bench speed` ({e}).") from e
    if not isinstance(found, dict) or "hardware" not in found:
        raise UserError(f"--against {path} is no file of `bench speed` (it names no hardware).")
    return found
