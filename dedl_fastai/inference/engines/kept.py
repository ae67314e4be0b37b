"""Networks that are kept in the cache in another form, so that later commands need not build them."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import torch

from ... import __version__
from ...errors import UserError
from ...io.files import cache_root, written_whole

log = logging.getLogger(__name__)

_VERSION = 1  # increase it when networks compute something else with equal weights, so that old files are not used


def kept_file(suffix: str, *facts: Any) -> Path:
    """Return the file in the folder `networks` of the cache that belongs to these facts, and to the versions used."""
    key = hashlib.sha256(repr((_VERSION, __version__, torch.__version__, *facts)).encode()).hexdigest()
    return cache_root() / "networks" / f"{key[:32]}{suffix}"


def keep(path: Path, data: bytes) -> None:
    """Write the file; a cache that cannot be written costs time alone."""
    try:
        with written_whole(path) as tmp:
            tmp.write_bytes(data)
    except (OSError, UserError) as e:
        log.warning("the converted network is not kept, and will be converted again: %s", e)
