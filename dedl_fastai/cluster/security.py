"""Who may talk to a Dask cluster: whoever has its certificate. Dask runs the code of everyone who can connect."""

import ipaddress
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..extras import optional

log = logging.getLogger(__name__)

_FILES = "distributed.comm.tls (ca-file; cert and key of client, scheduler and worker) of Dask's configuration"


def check_certificates(address: str) -> None:
    """Raise a `UserError` if the scheduler's address needs certificates that Dask's configuration does not name."""
    if not address.startswith("tls://"):
        return
    security = optional("distributed.security", "distributed", "Dask clusters").Security()
    files = [security.tls_ca_file, security.tls_client_cert, security.tls_client_key]
    if not (security.tls_ca_file and security.tls_client_cert):
        raise UserError(f"{address} needs the certificates of the cluster: name their files in {_FILES}.")
    for file in filter(None, files):
        if not Path(file).is_file():
            raise UserError(f"{file}, a certificate or key of {_FILES}, does not exist.")


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
def own_certificates(shared: Path) -> Iterator[dict[str, Any]]:
    """Yield the options of a cluster for its encryption: files that Dask's configuration names, or a new certificate.

    A new certificate is used until the end of the block. Workers on other machines read it, with its key, from a folder
    in `shared` that only this user can open.
    """
    security = optional("distributed.security", "distributed", "SLURM jobs").Security
    if security().tls_ca_file:
        yield {"security": security(require_encryption=True)}
        return
    optional("cryptography", "distributed", "certificates of SLURM jobs")
    shared.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dask-tls-", dir=shared) as private:
        yield {"security": security.temporary(), "shared_temp_directory": private}
