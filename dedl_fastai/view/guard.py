"""`Guard`: refuses requests without the token of the address, from pages of other sites, and to other host names."""

import secrets
from collections.abc import Collection
from typing import Any

_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",  # the address holds the token
    b"x-content-type-options": b"nosniff",
}


class Guard:
    """ASGI middleware: all paths begin with the token; Host and Origin are those of this server.

    Another site's page could otherwise send requests (CSRF), or reach this server by a name of its own that it lets
    point to 127.0.0.1 (DNS rebinding).
    """

    def __init__(self, app: Any, token: str, hosts: Collection[str]):
        self.app, self.token, self.hosts = app, token.encode(), set(hosts)

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Answer a request, with 403 if it is refused."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        if not self._is_ours(scope):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send(
                {"type": "http.response.body", "body": b"Refused: open the address that dedl-fastai view printed."}
            )
            return

        async def send_with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] += [(n, v) for n, v in _HEADERS.items() if n not in given]
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _is_ours(self, scope: dict) -> bool:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        first = scope["path"].split("/")[1].encode() if scope["path"].startswith("/") else b""
        return (
            host in self.hosts
            and origin in (None, f"http://{host}")
            and headers.get(b"sec-fetch-site", "none") in ("none", "same-origin")
            and secrets.compare_digest(first, self.token)
        )
