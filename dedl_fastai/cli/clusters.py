"""Options of commands that work on a Dask cluster: an existing one, or SLURM jobs."""

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import typer

from ..errors import UserError

Scheduler = Annotated[
    str,
    typer.Option(
        "--scheduler",
        help="Address of a Dask scheduler (tcp://HOST:PORT, tls://HOST:PORT), to work on its workers.",
        rich_help_panel="Clusters",
    ),
]
DaskSlurm = Annotated[
    int,
    typer.Option(
        "--dask-slurm",
        help="Number of SLURM jobs to work in, submitted by Dask.",
        min=0,
        rich_help_panel="Clusters",
    ),
]


def chosen_workers(jobs: int, scheduler: str, dask_slurm: int, *, shared: str) -> AbstractContextManager[Any]:
    """Return a context with the workers of the chosen cluster, or with None if the work is done on this machine.

    `shared` is a folder on the file system of all machines.
    """
    if [jobs > 1, bool(scheduler), bool(dask_slurm)].count(True) > 1:
        raise UserError("--jobs, --scheduler and --dask-slurm choose where the work is done: give one of them.")
    if not (scheduler or dask_slurm):
        return nullcontext()
    from pathlib import Path

    from ..cluster.clusters import dask_workers, slurm_workers

    return dask_workers(scheduler) if scheduler else slurm_workers(dask_slurm, Path(shared).absolute())
