"""Who may talk to a Dask cluster: whoever has its certificate. Dask runs the code of everyone who can connect."""

import ipaddress
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..extras import optional

log = logging.getLogger(__name__)

_ROLES = ("client", "scheduler", "worker")
_CONFIG = "distributed.comm.tls of Dask's configuration"


def check_certificates(address: str) -> None:
    """Raise a `UserError` if the scheduler's address needs certificates that Dask's configuration does not name."""
    if address.startswith("tls://"):
        security = optional("distributed.security", "distributed", "Dask clusters").Security()
        _check_files(f"{address} needs the certificates of the cluster", security, ["client"])


def _check_files(why: str, security: Any, roles: Sequence[str]) -> None:
    """Raise a `UserError` unless the configuration names existing files of the authority and of each role."""
    files = {"ca-file": security.tls_ca_file}
    for role in roles:
        files |= {f"{role}.{what}": getattr(security, f"tls_{role}_{what}") for what in ("cert", "key")}
    for name, file in files.items():
        if not file:
            raise UserError(f"{why}: name their files in {_CONFIG}; {name} is missing.")
        if not Path(file).is_file():
            raise UserError(f"{why}: {file}, which is {name} in {_CONFIG}, does not exist.")


def warn_if_open(address: str) -> None:
    """Log that anyone in the network can use a scheduler without TLS, unless only this machine reaches it."""
    protocol, _, where = address.partition("://")
    if protocol == "tcp" and not _is_local(where.rpartition(":")[0]):
        log.warning("%s takes code from whoever reaches it in the network: start the cluster with TLS", address)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def own_certificates(shared: Path) -> Iterator[Any]:
    """Yield the `Security` of a new cluster: the files that Dask's configuration names, or a new certificate.

    A new certificate is valid until the end of the block. Workers on other machines read it, with its key, in a folder
    in `shared` that only this user can open.
    """
    security = optional("distributed.security", "distributed", "SLURM jobs").Security
    if security().tls_ca_file:
        given = security(require_encryption=True)
        _check_files("SLURM jobs use certificates", given, _ROLES)
        yield given
        return
    optional("cryptography", "distributed", "certificates of SLURM jobs")
    new = security.temporary()
    shared.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dask-tls-", dir=shared) as private:
        files = {"cert": f"{private}/certificate.pem", "key": f"{private}/key.pem"}
        for what, file in files.items():
            Path(file).write_text(getattr(new, f"tls_worker_{what}"), encoding="ascii")
        of_roles = {f"tls_{role}_{what}": file for role in _ROLES for what, file in files.items()}
        yield security(require_encryption=True, tls_ca_file=files["cert"], **of_roles)
