"""`serve`: shows a folder of results in the browser, on this machine only, until it is stopped."""

import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import UserError
from ..extras import optional
from .app import VIEW, create_app
from .results import ResultsView

HOST = "127.0.0.1"


def serve(folder: str | Path, port: int = 0, on_ready: Callable[[str], None] = lambda _address: None) -> None:
    """Serve the page of a folder until a signal stops it; `on_ready` gets its address, which holds a secret token.

    `port=0` takes a free one. Raises `UserError` for folders without results, and for a port that is in use.
    """
    uvicorn = optional("uvicorn", *VIEW)
    results = ResultsView(folder)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except (OSError, OverflowError) as e:
            raise UserError(f"port={port} cannot be used ({e}): choose another one, or leave `port` out.") from e
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        app = create_app(results, token, port)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
        listening.listen(128)  # the browser may connect before the server answers
        on_ready(f"http://{HOST}:{port}/{token}/")
        with suppress(KeyboardInterrupt):  # Ctrl+C is how it ends; the files are closed by then
            uvicorn.Server(config).run(sockets=[listening])
