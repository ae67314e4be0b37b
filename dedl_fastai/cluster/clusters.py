"""Workers of Dask clusters: of an existing one, by the address of its scheduler, or of SLURM jobs."""

import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..extras import optional
from .security import check_certificates, own_certificates, warn_if_open
from .workers import Workers

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

_CONNECT = 8  # seconds to wait for a scheduler
_DASHBOARD = "127.0.0.1:8787"  # it shows code and data to whoever opens it; another port if this one is taken


@contextmanager
def dask_workers(address: str) -> Iterator[Workers]:
    """Yield the workers of the cluster with this scheduler; tasks that are not done at the end continue there.

    An address that begins with tls:// needs the cluster's certificates, from Dask's configuration. Raises `UserError`
    if they are missing, if no scheduler answers, or if the extra is missing.
    """
    distributed = optional("distributed", "distributed", "Dask clusters")
    check_certificates(address)
    try:
        client = distributed.Client(address, timeout=_CONNECT, name="dedl-fastai", set_as_default=False)
    except (OSError, ValueError, RuntimeError) as e:  # RuntimeError: the configuration requires encryption
        raise UserError(f"no Dask scheduler answers at {address}: {e}. Start one with `dask scheduler`.") from e
    with client:
        warn_if_open(client.scheduler.address)
        _log_dashboard(client)
        workers = Workers(client)
        try:
            yield workers
        finally:
            if workers.at_work:
                what = ", ".join(sent.task.label for sent in workers.at_work.values())
                log.warning("%d tasks continue on their workers until they end: %s", len(workers.at_work), what)


@contextmanager
def slurm_workers(jobs: int, shared: Path) -> Iterator[Workers]:
    """Yield the workers of `jobs` SLURM jobs, which are submitted again when they end, and cancelled at the end.

    Cores, memory, queue, walltime and GPUs of a job are set in Dask's configuration, under jobqueue.slurm. Scheduler
    and workers know each other by a certificate (`own_certificates`), which is in the `shared` folder meanwhile. Raises
    `UserError` if settings are missing or SLURM refuses the job, if there is no SLURM, or if the extra is missing.
    """
    jobqueue = optional("dask_jobqueue", "distributed", "SLURM jobs")
    distributed = optional("distributed", "distributed", "SLURM jobs")
    if not shutil.which("sbatch"):
        raise UserError("there is no sbatch: `dask_slurm` needs a machine that can submit jobs to SLURM.")
    logging.getLogger("distributed").setLevel(logging.WARNING)  # the scheduler is in this process, and logs a lot
    with own_certificates(shared) as security:
        try:
            cluster = jobqueue.SLURMCluster(security=security, **_on_this_machine_only())
        except ValueError as e:
            raise UserError(
                "`dask_slurm`: set cores, memory, walltime, ... of a job in ~/.config/dask/jobqueue.yaml, under"
                f" jobqueue.slurm; dask-jobqueue has no defaults for them: {str(e).splitlines()[0]}"
            ) from e
        with cluster, distributed.Client(cluster, name="dedl-fastai", set_as_default=False) as client:
            _check_job(cluster.job_script())
            _log_dashboard(client)
            yield Workers(client, lambda: cluster.scale(jobs=jobs))


def _on_this_machine_only() -> dict[str, Any]:
    """Options of a cluster whose pages (the dashboard, and those of the workers) are shown on their machines alone.

    What the user has configured wins.
    """
    import dask

    of_scheduler = dask.config.get("jobqueue.slurm.scheduler-options", None) or {}
    of_workers = dask.config.get("jobqueue.slurm.worker-extra-args", None) or []
    return {
        "scheduler_options": {"dashboard_address": _DASHBOARD, **of_scheduler},
        "worker_extra_args": ["--dashboard-address", "127.0.0.1:0", *of_workers],
    }


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
