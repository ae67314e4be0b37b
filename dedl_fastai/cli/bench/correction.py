"""`dedl-fastai bench correction`: how much the corrections of a simulated annotator help."""

from pathlib import Path
from typing import Annotated

import typer

from ...errors import UserError
from ...models.names import NUCLEI


def correction(
    data: Annotated[str, typer.Option("--data", help="Fields with masks that hold ids.")],
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="The model that is corrected and continued.")] = NUCLEI,
    fields: Annotated[str, typer.Option(help="Numbers of corrected fields, separated by commas.")] = "1,2,4",
    regions: Annotated[str, typer.Option(help="Correct regions in place of fields: their numbers.")] = "",
    channel: Annotated[str, typer.Option(help="The model's channels in these files, such as blue-only.")] = "",
    patient: Annotated[str, typer.Option(help="Regular expression of the patient in a field's name, or field.")] = "",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 10,
    tile: Annotated[int, typer.Option(help="Edge of the training tiles in pixels (0: that of the run).")] = 0,
    bs: Annotated[int, typer.Option(min=1, help="Tiles per batch.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the random order, the split and the training.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    out: Annotated[str, typer.Option(help="Folder of the trainings, curve.csv and curve.png.")] = "correction",
) -> None:
    """Measure F1 of nuclei against the number of nuclei that a simulated annotator corrects.

    The model predicts the training fields, the annotator replaces the prediction by the truth, field by field or region
    by region, in the order of predict --suggest and in random order, and the model is continued (--preset finetune)
    with the first ones. A second call with the same options continues.
    """
    from ...bench.correction.curve import FIELDS, REGIONS, Annotation, correction_curve
    from ...bench.correction.figure import curve_figure
    from ...data.cohort import Cohort
    from ...runs.figures import save_figure

    unit, given = (REGIONS, regions) if regions else (FIELDS, fields)
    try:
        numbers = tuple(int(n) for n in given.split(","))
    except ValueError as e:
        raise UserError(f"--{unit} {given}: give whole numbers separated by commas.") from e
    training = {"epochs": epochs, "bs": bs, "device": device, **({"tile": tile} if tile else {})}
    annotation = Annotation(run, numbers, unit=unit, channel=channel, seed=seed, training=training)
    curve = correction_curve(Cohort.load(data, patient or None), out, annotation)
    save_figure(curve_figure(curve), Path(out) / "curve.png")
    typer.echo(curve.to_string(index=False, float_format="%.4f"))
    typer.echo(f"numbers and figure: {out}")
