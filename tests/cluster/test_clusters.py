"""Clusters: SLURM jobs that end, who may connect, and what is said when a cluster cannot be used."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from dedl_fastai.cluster.clusters import dask_workers, slurm_workers
from dedl_fastai.cluster.security import warn_if_open
from dedl_fastai.cluster.workers import Task
from dedl_fastai.errors import UserError

from ..bench.waiting import until
from .processes import running_cluster

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


TLS = "distributed.comm.tls"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for sbatch and scancel that run jobs as processes; the value is the file of their process ids."""
    pytest.importorskip("dask_jobqueue")  # imported first, as it sets defaults
    pytest.importorskip("cryptography")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sbatch").write_text(f"""#!/bin/bash
        if [ "$1" = --test-only ]; then
            ! grep -q "SBATCH -p nowhere" "$2" || {{ echo "invalid partition" >&2; exit 1; }}
            exit 0
        fi
        job=$(mktemp -p {tools})
        cp "$1" "$job"
        setsid bash "$job" >"$job.log" 2>&1 &
        echo $! >>{tools}/jobs
        echo "Submitted batch job $!"
    """)
    (tools / "scancel").write_text('#!/bin/bash\nkill -9 -- "-$1"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    about = {"cores": 1, "processes": 1, "memory": "2GB", "local-directory": str(tmp_path)}
    about |= {"scheduler-options.host": "127.0.0.1"}
    settings = {f"jobqueue.slurm.{k}": v for k, v in about.items()}
    with dask.config.set({**settings, "distributed.deploy.lost-worker-timeout": "1s"}):
        yield tools / "jobs"


def says_no_to(address: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason), dask_workers(address):
        pass


def at_second_call(folder: str) -> set[str]:
    """Wait for ever at the first call; at the second return the addresses at which this worker shows its pages."""
    calls = Path(folder) / "calls"
    with calls.open("a") as f:
        f.write("x")
    if len(calls.read_text()) == 1:
        time.sleep(1000)
    from distributed.comm import get_tcp_server_addresses

    return {host for host, *_ in get_tcp_server_addresses(distributed.get_worker().http_server)}


def test_slurm_jobs_that_end_are_submitted_again_and_only_holders_of_the_certificate_connect(tmp_path, slurm):
    killed, shared = [], tmp_path / "shared"

    def end_the_job():
        until(lambda: (tmp_path / "calls").exists())
        killed.append(int(slurm.read_text()))
        os.killpg(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=end_the_job)
    killer.start()
    with slurm_workers(1, shared) as workers:
        address = workers.client.scheduler.address
        (private,) = shared.iterdir()
        assert address.startswith("tls://") and private.stat().st_mode & 0o777 == 0o700
        assert "127.0.0.1" in workers.client.dashboard_link
        task = Task("wait", "a task", at_second_call, (str(tmp_path),))
        (ended,) = workers.carry_out([task], tmp_path, [])
        assert ended.value == {"127.0.0.1"}  # the pages of the worker too
        says_no_to(address, "needs the certificates of the cluster")
    killer.join()
    jobs = [int(n) for n in slurm.read_text().split()]
    assert len(jobs) == 2 and jobs[0] == killed[0]
    until(lambda: not Path(f"/proc/{jobs[1]}").exists(), 20)  # cancelled at the end
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "reason"),
    [({"cores": None}, r"jobqueue\.yaml"), ({"queue": "nowhere"}, "SLURM refuses the job: invalid partition")],
)
def test_a_job_that_slurm_cannot_run_is_a_user_error(slurm, tmp_path, setting, reason):
    settings = {f"jobqueue.slurm.{k}": v for k, v in setting.items()}
    with dask.config.set(settings), pytest.raises(UserError, match=reason), slurm_workers(1, tmp_path):
        pass
    assert not slurm.exists()


@pytest.fixture
def certificates(tmp_path):
    """The files of a certificate and its key, which Dask's configuration names."""
    pytest.importorskip("cryptography")
    made = distributed.Security.temporary()
    (tmp_path / "ca.pem").write_text(made.tls_ca_file)
    (tmp_path / "key.pem").write_text(made.tls_client_key)
    ca, key = str(tmp_path / "ca.pem"), str(tmp_path / "key.pem")
    with dask.config.set({f"{TLS}.ca-file": ca, f"{TLS}.client.cert": ca, f"{TLS}.client.key": key}):
        yield ca, key


def test_a_cluster_with_tls_is_used_by_those_who_have_its_certificate(tmp_path, certificates, caplog):
    ca, key = certificates
    with running_cluster(tmp_path, "--tls-ca-file", ca, "--tls-cert", ca, "--tls-key", key) as cluster:
        cluster.address = cluster.address.replace("tcp://", "tls://")
        with dask_workers(cluster.address) as workers:
            assert workers.client.scheduler.address.startswith("tls://")
        other = distributed.Security.temporary()
        Path(ca).write_text(other.tls_ca_file)
        Path(key).write_text(other.tls_client_key)
        says_no_to(cluster.address, "no Dask scheduler answers at tls://")
    assert "start the cluster with TLS" not in caplog.text


def test_a_certificate_that_does_not_exist_is_named(tmp_path, certificates):
    Path(certificates[1]).unlink()
    says_no_to("tls://127.0.0.1:1", r"key\.pem, which is client\.key in distributed\.comm\.tls .*, does not exist")


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("tcp://10.0.0.7:8786", True),
        ("tcp://node7:8786", True),
        ("tls://10.0.0.7:8786", False),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://localhost:8786", False),
    ],
)
def test_an_open_scheduler_is_warned_of(address, is_open, caplog):
    warn_if_open(address)
    assert ("takes code from whoever reaches it" in caplog.text) == is_open
