"""Executors on Dask clusters: an existing one, by its address, or SLURM jobs."""

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

_CONNECT = 8  # seconds to wait for a scheduler


@contextmanager
def dask_jobs(address: str) -> Iterator[DaskJobs]:
    """Yield an executor on the Dask cluster with this scheduler; runs that are still running at the end continue there.

    Raises `UserError` if no scheduler answers, or if the extra is missing.
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
                log.warning("%d runs continue on their workers until they end", len(jobs.at_work))


@contextmanager
def slurm_jobs(jobs: int) -> Iterator[DaskJobs]:
    """Yield an executor on `jobs` SLURM jobs, which are submitted again when they end, and cancelled at the end.

    Cores, memory, queue, walltime and GPUs of a job are set in Dask's configuration, under jobqueue.slurm. Raises
    `UserError` if they are missing or SLURM refuses the job, if there is no SLURM, or if the extra is missing.
    """
    jobqueue = optional("dask_jobqueue", "distributed", "runs on SLURM")
    distributed = optional("distributed", "distributed", "runs on SLURM")
    if not shutil.which("sbatch"):
        raise UserError("there is no sbatch: `dask_slurm` needs a machine that can submit jobs to SLURM.")
    try:
        cluster = jobqueue.SLURMCluster()
    except ValueError as e:
        raise UserError(
            "`dask_slurm`: set cores, memory, walltime, ... of a job in ~/.config/dask/jobqueue.yaml, under"
            f" jobqueue.slurm; dask-jobqueue has no defaults for them: {str(e).splitlines()[0]}"
        ) from e
    logging.getLogger("distributed").setLevel(logging.WARNING)  # the scheduler is in this process, and logs a lot
    with cluster, distributed.Client(cluster, name="dedl-fastai", set_as_default=False) as client:
        _check_job(cluster.job_script())
        _log_dashboard(client)
        yield DaskJobs(client, lambda: cluster.scale(jobs=jobs))


def _check_job(script: str) -> None:
    """Ask SLURM whether it would accept the job: Dask only logs that a job is refused, and waits."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        asked = subprocess.run(["sbatch", "--test-only", file.name], capture_output=True, text=True)
    if asked.returncode:
        raise UserError(f"SLURM refuses the job: {asked.stderr.strip()}. Change it in Dask's jobqueue.slurm.")


def _log_dashboard(client: "Client") -> None:
    with suppress(KeyError):  # a scheduler may have none
        log.info("Dask dashboard: %s", client.dashboard_link)
