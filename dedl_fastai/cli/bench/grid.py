"""`dedl-fastai bench run` and `bench report`: the runs of a table, and their results next to the published values."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from ...runs.options.base import numbers
from ...runs.options.clf import ClfConfig
from ...runs.options.seg import SegConfig
from ..clusters import DaskSlurm, Scheduler, chosen_workers
from ..options import with_options


@with_options(SegConfig, ClfConfig, show_defaults=False)
def run(
    given: dict[str, Any],
    table: Annotated[
        str,
        typer.Argument(
            help="table1 to table13, prior, app-ablation (variants of APP), efficiency (how many fields), "
            "seg-ablation (head, augmentation, weights)."
        ),
    ],
    rows: Annotated[str, typer.Option("--rows", help="Keys of rows, separated by commas (default: all).")] = "",
    columns: Annotated[
        str, typer.Option("--columns", help="Names of columns, separated by semicolons (default: all).")
    ] = "",
    variant: Annotated[
        str,
        typer.Option(
            "--variant",
            help="Further columns with APP: summed (the text's form), released (the code's), separated by commas.",
        ),
    ] = "",
    seeds: Annotated[str, typer.Option("--seeds", help="Separated by commas (default: the paper's five).")] = "",
    folds: Annotated[int | None, typer.Option("--folds", help="Folds (default: the paper's; 0: none).")] = None,
    out: Annotated[str, typer.Option("--out", help="Folder of the grid (default: grids/TABLE).")] = "",
    jobs: Annotated[int, typer.Option("--jobs", help="Runs at once on this machine.", min=1)] = 1,
    scheduler: Scheduler = "",
    dask_slurm: DaskSlurm = 0,
    retry: Annotated[bool, typer.Option("--retry", help="Start failed runs again.")] = False,
) -> None:
    """Train every run of a table and report the results next to the published values.

    Options of `seg` and `clf` apply to every run and win over the table's; --seed is that of the split. Finished runs
    are kept, so that the same command continues a stopped grid; several processes and tables may share a grid. Without
    --data it uses the demo cohort and --preset demo. Exits with 1 if a run failed.
    """
    from pathlib import Path

    from ...bench.grid.dask_jobs import DaskJobs
    from ...bench.grid.execution import failures, run_grid
    from ...bench.grid.local_jobs import LocalJobs
    from ...bench.grid.plan import Request, plan_grid
    from ...bench.paper.tables import load_table
    from ...bench.paper.variants import with_variants

    folder, chosen = out or f"grids/{table}", numbers(seeds, "seeds")
    where = chosen_workers(jobs, scheduler, dask_slurm, shared=folder)
    chosen_table = with_variants(load_table(table), variant.split(",")).select(rows.split(","), columns.split(";"))
    request = Request(chosen_table, given, chosen, folds)
    try:
        with _terminate_as_interrupt():
            runs = plan_grid(request, Path(folder))
            with where as workers:
                outcomes = run_grid(runs, DaskJobs(workers) if workers else LocalJobs(jobs), retry)
            report(folder)
    except KeyboardInterrupt:
        typer.echo("\nstopped. The same command continues it.", err=True)
        raise typer.Exit(130) from None
    failed = failures(runs, outcomes)
    for line in failed:
        typer.echo(line, err=True)
    if failed:
        typer.echo("--retry starts failed runs again.", err=True)
        raise typer.Exit(1)


def report(
    grid: Annotated[str, typer.Argument(help="Folder of a grid.")],
    csv: Annotated[bool, typer.Option("--csv", help="Also write CSV files.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Also write LaTeX files.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Also write report.html, one file with its figures.")] = False,
) -> None:
    """Print the results of a grid next to the published values; write GRID/report, with one figure per table."""
    from ...bench.report.grid_report import write_grid_report

    typer.echo(write_grid_report(grid, csv, latex, html))
    typer.echo(f"report: {grid}/report")


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """End the processes of the runs on SIGTERM, which schedulers of clusters send, as on Ctrl-C."""
    import signal

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
