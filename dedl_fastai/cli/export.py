"""`dedl-fastai export`: write a trained network as a file for other programs."""

from typing import Annotated

import typer


def export(
    run: Annotated[str, typer.Argument(help="Run folder.")],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx; torch: a torch.export program (.pt2); run: a small copy of the run; bioimageio: a zip for the "
            "archive bioimage.io and the programs that read it.",
        ),
    ] = "onnx",
    which: Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")] = "best",
    out: Annotated[
        str, typer.Option("--out", help="File or folder to write (default: RUN/export/model.onnx, model.pt2 or run).")
    ] = "",
    data: Annotated[
        str, typer.Option("--data", help="Fields for the check (default: the run's own, or noise if they are missing).")
    ] = "",
    author: Annotated[
        list[str] | None, typer.Option("--author", help="With --format bioimageio: name of an author; may be repeated.")
    ] = None,
    license: Annotated[
        str, typer.Option("--license", help="With --format bioimageio: licence of the model, such as CC-BY-4.0.")
    ] = "",
) -> None:
    """Write a run's network as a file that opens without this package, and compare its output with PyTorch's.

    The file also contains the channels, scaling, mean, standard deviation, classes and thresholds. --format run writes
    a folder of half the size, without files that only training needs, which predict and evaluate take as a RUN.
    """
    from ..errors import UserError
    from ..runs.export import export_run
    from ..runs.zoo_package import Credits

    is_shared = format == "bioimageio"
    if (author or license) and not is_shared:
        raise UserError(f"format={format}: `author` and `license` are for format=bioimageio.")
    credits = Credits(tuple(author or ()), license) if is_shared else None
    exported = export_run(run, format=format, which=which, out=out, data=data, credits=credits)
    agreement = exported.agreement
    typer.echo(f"file: {exported.path} ({exported.megabytes:.1f} MB)")
    typer.echo(f"compared with PyTorch on {exported.n_inputs} inputs ({exported.checked_on}):")
    typer.echo(f"  largest difference of a probability {agreement.max_difference:.1e}")
    typer.echo(
        f"  decisions at the threshold that differ {agreement.changed:.2%}, "
        f"IoU differs by at most {agreement.iou_difference:.1e}"
    )
