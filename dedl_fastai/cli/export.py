"""`dedl-fastai export`: a trained network as a file for other programs."""

from typing import Annotated

import typer


def export(
    run: Annotated[str, typer.Argument(help="Run folder.")],
    format: Annotated[str, typer.Option("--format", help="onnx, or torch: a torch.export program (.pt2).")] = "onnx",
    which: Annotated[str, typer.Option("--which", help="Weights: best, last or swa.")] = "best",
    out: Annotated[str, typer.Option("--out", help="File [RUN/export/model.onnx, model.pt2].")] = "",
    data: Annotated[
        str, typer.Option("--data", help="Fields of the check [the run's own, noise where they are gone].")
    ] = "",
) -> None:
    """Write a run's network as a file that opens without this package, and check it against PyTorch.

    Channels, scaling, mean, spread, classes and thresholds lie in the file.
    """
    from ..runs.export import export_run

    done = export_run(run, format, which, out, data)
    found = done.agreement
    typer.echo(f"file: {done.path} ({done.path.stat().st_size / 2**20:.1f} MB)")
    typer.echo(f"checked against PyTorch on {done.n_inputs} inputs ({done.checked_on}):")
    typer.echo(f"  largest difference of a probability {found.max_difference:.1e}")
    typer.echo(
        f"  decided otherwise at the threshold {found.changed:.2%}, IoU differs by at most {found.iou_difference:.1e}"
    )
