"""`dedl-fastai evaluate`: recompute all metrics of a run from its saved weights."""

from pathlib import Path
from typing import Annotated

import typer

from ..inference.options import SCALE


def evaluate(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Run folder, or folder with test folds; several runs are an ensemble."),
    ],
    data: Annotated[str, typer.Option("--data", help="Fields to evaluate (default: the run's own).")] = "",
    split: Annotated[
        str, typer.Option("--split", help="train, valid, test or all (default: test; with --data: all).")
    ] = "",
    channel: Annotated[
        str,
        typer.Option("--channel", help="The model's channels in these files, by name; blue-only: DAPI of composites."),
    ] = "",
    part_by: Annotated[
        str,
        typer.Option("--part-by", help="Separate touching nuclei by distance (to the rim), or by intensity (of DAPI)."),
    ] = "distance",
    scale: Annotated[
        str,
        typer.Option(
            "--scale", help="Magnify fields for the network: none, auto (so that nuclei look as in training), a FACTOR."
        ),
    ] = SCALE,
    tta: Annotated[
        str,
        typer.Option("--tta", help="Test-time augmentation: none, flips (4 times slower), dihedral (8 times slower)."),
    ] = "none",
    rules: Annotated[
        str, typer.Option("--rules", help="Score the nuclei's types by these rules: tfh5, vanburen3, or a FILE.")
    ] = "",
    cell_types: Annotated[
        str, typer.Option("--cell-types", help="Score the nuclei's types by this classifier of single cells, a RUN.")
    ] = "",
    seg: Annotated[
        str, typer.Option("--seg", help="Of a classifier of cells: the RUN that finds the nuclei (default: its own).")
    ] = "",
    match: Annotated[
        str,
        typer.Option("--match", help="Match nuclei with the cells of tables by nucleus, or by place (within 4 um)."),
    ] = "nucleus",
    min_confidence: Annotated[
        float | None,
        typer.Option("--min-confidence", help="Leave types of a lower probability undecided (default: the run's own)."),
    ] = None,
    which: Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")] = "best",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    out: Annotated[
        str,
        typer.Option(
            "--out",
            help="JSON file for the metrics; nuclei go to FILE_objects.csv, types of cells to FILE_confusion.png.",
        ),
    ] = "",
) -> None:
    """Recompute the metrics of a run, or of an ensemble, over whole fields, on its own cohort or on another one.

    Where masks contain ids of nuclei, nuclei are counted and matched too. With --rules or --cell-types, the types of
    the nuclei are compared with those in the cell tables.
    """
    from ..io.files import write_json
    from ..runs.cells.again import TypeOptions
    from ..runs.cells.figures import draw_type_figures
    from ..runs.evaluation import evaluate_run
    from ..runs.segmentation.evaluation import write_objects
    from .tables import cells, classification, segmentation

    types = TypeOptions(cell_types=cell_types, rules=rules, seg=seg, match=match, min_confidence=min_confidence)
    how = {"channel": channel, "part_by": part_by, "scale": scale, "tta": tta}
    metrics = evaluate_run(runs, data=data, split=split, which=which, device=device, types=types, **how)
    types_of_cells = metrics if metrics["task"] == "cells" else metrics.get("cell_types")
    if out:
        write_json(out, metrics)
        write_objects(Path(out).with_name(f"{Path(out).stem}_objects.csv"), metrics)
        if types_of_cells:
            draw_type_figures(types_of_cells, lambda name: Path(out).with_name(f"{Path(out).stem}_{name}.png"))
    if metrics["task"] != "cells":
        tables = segmentation if metrics["task"] == "segmentation" else classification
        typer.echo(tables.test_fold_table(metrics) if "folds" in metrics else tables.metrics_table(metrics))
    if types_of_cells:
        typer.echo(cells.metrics_table(types_of_cells))
