"""Dask clusters for the runs of a grid: one that is there, by its address, or SLURM jobs."""

import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ...errors import UserError
from ...extras import optional
from .dask_jobs import DaskJobs

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

_CONNECT = 8  # seconds until a scheduler has to answer


@contextmanager
def dask_jobs(address: str) -> Iterator[DaskJobs]:
    """An executor on the Dask cluster whose scheduler is at `address`; what is at work when it ends goes on there.

    Raises `UserError` if no scheduler answers, or the extra is missing.
    """
    distributed = optional("distributed", "distributed", "runs on a Dask cluster")
    try:
        client = distributed.Client(address, timeout=_CONNECT, name="dedl-fastai", set_as_default=False)
    except (OSError, ValueError) as e:
        raise UserError(f"no Dask scheduler answers at {address}: {e}. Start one with `dask scheduler`.") from e
    with client:
        _log_dashboard(client)
        jobs = DaskJobs(client)
        try:
            yield jobs
        finally:
            if jobs.at_work:
                log.warning("%d runs go on to their end on their workers", len(jobs.at_work))


@contextmanager
def slurm_jobs(jobs: int) -> Iterator[DaskJobs]:
    """An executor on `jobs` SLURM jobs, submitted again when one ends, and cancelled at the end.

    What a job is (cores, memory, queue, walltime, GPUs) is said in Dask's configuration, under jobqueue.slurm. Raises
    `UserError` if that is missing or SLURM refuses it, there is no SLURM, or the extra is missing.
    """
    jobqueue = optional("dask_jobqueue", "distributed", "runs on SLURM")
    distributed = optional("distributed", "distributed", "runs on SLURM")
    if not shutil.which("sbatch"):
        raise UserError("there is no sbatch: `dask_slurm` is for a machine that submits jobs to SLURM.")
    try:
        cluster = jobqueue.SLURMCluster()
    except ValueError as e:
        raise UserError(
            "`dask_slurm`: say in ~/.config/dask/jobqueue.yaml, under jobqueue.slurm, what a job is (cores, memory,"
            f" walltime, ...); dask-jobqueue has no default for it: {str(e).splitlines()[0]}"
        ) from e
    logging.getLogger("distributed").setLevel(logging.WARNING)  # the scheduler is in this process, and tells a lot
    with cluster, distributed.Client(cluster, name="dedl-fastai", set_as_default=False) as client:
        _check_job(cluster.job_script())
        _log_dashboard(client)
        yield DaskJobs(client, lambda: cluster.scale(jobs=jobs))


def _check_job(script: str) -> None:
    """Ask SLURM whether it would take the job: Dask only logs it when a job is refused, and waits."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        asked = subprocess.run(["sbatch", "--test-only", file.name], capture_output=True, text=True)
    if asked.returncode:
        raise UserError(f"SLURM takes no such job: {asked.stderr.strip()}. It is set up in Dask's jobqueue.slurm.")


def _log_dashboard(client: "Client") -> None:
    with suppress(KeyError):  # a scheduler may be started without one
        log.info("Dask dashboard: %s", client.dashboard_link)
