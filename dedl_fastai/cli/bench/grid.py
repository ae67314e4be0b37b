"""`dedl-fastai bench run` and `bench report`: a table's runs, and what they came to beside the paper."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any

import typer

from ...errors import UserError
from ...runs.options.base import numbers
from ...runs.options.clf import ClfConfig
from ...runs.options.seg import SegConfig
from ..options import with_options

ABLATION = "app-ablation"


@with_options(SegConfig, ClfConfig, show_defaults=False)
def run(
    given: dict,
    table: Annotated[str, typer.Argument(help="table1 to table13, or app-ablation: APP paired by seed.")],
    rows: Annotated[str, typer.Option("--rows", help="Keys of rows, with commas between (default: all).")] = "",
    seeds: Annotated[str, typer.Option("--seeds", help="With commas between (default: the paper's five).")] = "",
    folds: Annotated[int | None, typer.Option("--folds", help="Folds (default: the paper's; 0: none).")] = None,
    out: Annotated[str, typer.Option("--out", help="Folder of the grid (default: grids/TABLE).")] = "",
    jobs: Annotated[int, typer.Option("--jobs", help="Runs at once on this machine.", min=1)] = 1,
    scheduler: Annotated[
        str, typer.Option("--scheduler", help="Address of a Dask scheduler: runs on its workers.")
    ] = "",
    dask_slurm: Annotated[int, typer.Option("--dask-slurm", help="SLURM jobs for runs, made by Dask.", min=0)] = 0,
    retry: Annotated[bool, typer.Option("--retry", help="Start failed runs again.")] = False,
) -> None:
    """Train every run of a table of the paper and report them beside the published values.

    Options of `seg` and `clf` hold for every run and win over the table's; --seed is the split's. Finished runs are
    kept, so the same command goes on where it was stopped; several processes and tables may share a grid. Without
    --data it runs on the demo cohort with --preset demo. Exits with 1 if a run failed.
    """
    if table == ABLATION and folds is not None:
        raise UserError(f"{ABLATION} has one split for all runs: leave --folds out.")
    if table == ABLATION and (scheduler or dask_slurm):
        raise UserError(f"{ABLATION} runs on this machine: leave --scheduler and --dask-slurm out.")
    names, chosen = [r.strip() for r in rows.split(",") if r.strip()], numbers(seeds, "seeds")
    folder = out or f"grids/{table}"
    try:
        with _terminate_as_interrupt():
            if table == ABLATION:
                failed = _ablation(given, names, chosen, folder, jobs, retry)
            else:
                failed = _table(table, given, names, chosen, folds, folder, _where(jobs, scheduler, dask_slurm), retry)
    except KeyboardInterrupt:
        typer.echo("\nstopped. The same command goes on with it.", err=True)
        raise typer.Exit(130) from None
    for line in failed:
        typer.echo(line, err=True)
    if failed:
        typer.echo("--retry starts what failed again.", err=True)
        raise typer.Exit(1)


def report(
    grid: Annotated[str, typer.Argument(help="Folder of a grid.")],
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV files too.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Write LaTeX files too.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Write report.html too, in one file with its figures.")] = False,
) -> None:
    """Print what a grid came to beside the paper, and write it to GRID/report with a figure a table."""
    from ...bench.report.grid_report import write_grid_report

    typer.echo(write_grid_report(grid, csv, latex, html))
    typer.echo(f"report: {grid}/report")


def _where(jobs: int, scheduler: str, dask_slurm: int) -> AbstractContextManager[Any]:
    """Where runs are carried out: gives an executor of `run_grid`."""
    from contextlib import nullcontext

    from ...bench.grid.dask_clusters import dask_jobs, slurm_jobs
    from ...bench.grid.local_jobs import LocalJobs

    if [jobs > 1, bool(scheduler), bool(dask_slurm)].count(True) > 1:
        raise UserError("--jobs, --scheduler and --dask-slurm each say where runs are carried out: give one of them.")
    if scheduler:
        return dask_jobs(scheduler)
    return slurm_jobs(dask_slurm) if dask_slurm else nullcontext(LocalJobs(jobs))


def _table(
    name: str,
    given: dict,
    rows: list[str],
    seeds: tuple[int, ...],
    folds: int | None,
    out: str,
    where: AbstractContextManager[Any],
    retry: bool,
) -> list[str]:
    """Carry out and report a table of the paper; returns what failed."""
    from pathlib import Path

    from ...bench.grid.execution import failures, run_grid
    from ...bench.grid.plan import Request, plan_grid
    from ...bench.paper.tables import load_table

    table = load_table(name)
    request = Request(table.select(rows) if rows else table, given, seeds, folds)
    runs = plan_grid(request, Path(out))
    with where as executor:
        outcomes = run_grid(runs, executor, retry)
    report(out)
    return failures(runs, outcomes)


def _ablation(given: dict, rows: list[str], seeds: tuple[int, ...], out: str, jobs: int, retry: bool) -> list[str]:
    from pathlib import Path

    from ...bench.grid.ablation import run_ablation
    from ...bench.paper.tables import SEEDS
    from ...bench.report.paired import write_report
    from ...runs.cohort import with_demo_data

    folder = Path(out)
    results, failed = run_ablation(with_demo_data(given), seeds or SEEDS, folder, rows, jobs, retry)
    if results:
        typer.echo(write_report(results, folder))
        typer.echo(f"report: {folder}/report.md, report.csv, report.png")
    return failed


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM, as a cluster's scheduler sends it, ends the processes of the runs like Ctrl-C."""
    import signal

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
