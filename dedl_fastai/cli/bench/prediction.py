"""`dedl-fastai bench predict` and `startup`: costs of whole commands, measured in processes of their own."""

import json
from typing import Annotated

import typer


def predict(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[INPUT]...", help="Images or folders [two synthetic fields].")
    ] = None,
    run: Annotated[str, typer.Option("--run", help="A segmentation run, or nuclei.")] = "nuclei",
    engine: Annotated[str, typer.Option(help="torch, onnx, openvino.")] = "torch",
    amp: Annotated[str, typer.Option(help="no, fp16, bf16.")] = "no",
    size: Annotated[int, typer.Option(help="Edge of the synthetic fields in pixels.")] = 1400,
    jobs: Annotated[int, typer.Option(min=1, help="Fields at a time.")] = 1,
) -> None:
    """Measure `predict` from its start to the report: seconds by stage, share of the network, speed. Prints JSON."""
    from ...bench.speed.predict import predict_cost

    cost = predict_cost(run, inputs or (), engine=engine, amp=amp, size=size, jobs=jobs)
    typer.echo(json.dumps(cost, indent=2))


def startup(
    rounds: Annotated[int, typer.Option(min=1, help="Starts of each command; the fastest counts.")] = 3,
) -> None:
    """Measure the start of each command to its help, and of `predict` to its first field. Prints JSON."""
    from ...bench.speed.startup import startup_costs

    typer.echo(json.dumps(startup_costs(rounds=rounds), indent=2))
