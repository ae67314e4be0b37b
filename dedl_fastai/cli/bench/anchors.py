"""`dedl-fastai bench anchors`: other tools for nuclei beside our runs, on the same fields."""

from pathlib import Path
from typing import Annotated

import typer

from ...errors import UserError


def anchors(
    data: Annotated[list[str], typer.Option("--data", help="Fields with masks that hold ids; may be repeated.")],
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs of ours, and nuclei.")] = None,
    split: Annotated[str, typer.Option("--split", help="Fields that are compared: test, valid, all.")] = "all",
    splits: Annotated[
        str,
        typer.Option("--splits", help="splits.json of a run: which fields of the first --data are test."),
    ] = "",
    channel: Annotated[
        str, typer.Option("--channel", help="Names of the nuclear channel; the first that a field has counts.")
    ] = "DAPI,blue",
    peers: Annotated[
        str, typer.Option("--peers", help="Tools, separated by commas.")
    ] = "stardist,cellpose,instanseg,deepflash2",
    python: Annotated[
        list[str] | None, typer.Option("--python", help="Python that has a tool, as stardist=/env/bin/python.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Also train the tools on the training fields of the first --data.")
    ] = False,
    epochs: Annotated[int, typer.Option("--epochs", help="Epochs of these trainings (0: each tool's default).")] = 0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of each tool.")] = 2,
    tta: Annotated[str, typer.Option("--tta", help="Of our runs: none, flips, dihedral.")] = "none",
    scale: Annotated[str, typer.Option("--scale", help="Of our runs: none, auto or a FACTOR.")] = "none",
    out: Annotated[str, typer.Option("--out", help="CSV file for the numbers.")] = "anchors.csv",
) -> None:
    """Compare our runs with StarDist, Cellpose, InstanSeg and deepflash2 on fields whose nuclei are known.

    Every tool runs in a process of its own, with the same threads, on one channel as it is in the file, and is scored
    by the same matcher. Tools that are not installed, or whose published weights cannot be had, are left out with the
    reason. --train also trains them from scratch.
    """
    import pandas as pd

    from ...bench.anchors.anchors import Training, compare_tools
    from ...bench.anchors.table import anchor_lines
    from ...data.cohort import Cohort
    from ...data.splits import apply_splits, split_cohort
    from ...io.files import written_whole

    cohorts = [Cohort.load(folder) for folder in data]
    if splits:
        cohorts[0] = apply_splits(cohorts[0], splits)
    elif train or split != "all":
        cohorts[0] = split_cohort(cohorts[0])
    channels = [name.strip() for name in channel.split(",")]
    rows = compare_tools(
        {c.root.name: c.part(split if i == 0 else "all") for i, c in enumerate(cohorts)},
        runs or [],
        [p.strip() for p in peers.split(",") if p.strip()],
        channels=channels,
        training=Training.of(cohorts[0], channels, epochs) if train else None,
        pythons=_pythons(python or []),
        threads=threads,
        tta=tta,
        scale=scale,
    )
    with written_whole(Path(out)) as tmp:
        pd.DataFrame(rows).to_csv(tmp, index=False)
    typer.echo("\n".join(anchor_lines(rows)))
    typer.echo(f"numbers: {out}")


def _pythons(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if bad := [peer for peer, sign, path in pairs if not (sign and path)]:
        raise UserError(f"--python {bad[0]}: name the tool and its Python, as stardist=/env/bin/python.")
    return {peer: path for peer, _, path in pairs}
