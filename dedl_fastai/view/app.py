"""`create_app`: the addresses of the page, as a Starlette application. All are below the token."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..extras import optional
from ..predict.corrections import StaleError
from .field_view import FieldView
from .guard import Guard
from .pyramid import NEAR
from .requests import action, json_body, number, shown
from .results import ResultsView, UnknownError

VIEW = ("view", "The pages of results")  # extra and subject of the arguments of `optional`
_ASSETS = Path(__file__).parent / "assets"
_LISTED = 20  # cells in a list
_A_DAY = {"cache-control": "private, max-age=86400"}
_NEVER = {"cache-control": "no-store"}


def create_app(results: ResultsView, token: str, port: int) -> Any:
    """Return the application of a folder of results, which closes it when it ends."""
    optional("starlette", *VIEW)
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        yield
        results.close()

    handlers = _Handlers(results)
    routes = [
        Route("/", handlers.page),
        Route("/api/fields", handlers.gallery),
        Route("/api/fields/{name}", handlers.field),
        Route("/api/fields/{name}/thumbnail", handlers.thumbnail),
        Route("/api/fields/{name}/state", handlers.state),
        Route("/api/fields/{name}/contrast/{layer:int}", handlers.contrast),
        Route("/api/fields/{name}/at", handlers.at),
        Route("/api/fields/{name}/unsure", handlers.unsure),
        Route("/api/correct", handlers.correct, methods=["POST"]),
        Route("/api/fields/{name}/actions", handlers.act, methods=["POST"]),
        Route("/api/fields/{name}/tiles/{level:int}/{x:int}/{y:int}", handlers.tile),
        Route("/api/fields/{name}/outlines/{level:int}/{x:int}/{y:int}", handlers.outlines),
        Route("/api/gates/{marker}", handlers.gate),
        Route("/api/gates/{marker}", handlers.save_gate, methods=["POST"]),
        Mount("/assets", StaticFiles(directory=_ASSETS)),
    ]
    app = Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        lifespan=lifespan,
        exception_handlers={UserError: _refused},
    )
    return Guard(app, token, hosts=[f"127.0.0.1:{port}", f"localhost:{port}"])


class _Handlers:
    """The answers. They are plain functions, which Starlette runs in threads, but for those that read a body."""

    def __init__(self, results: ResultsView):
        self.results = results

    def page(self, _request: Any) -> Any:
        """The page itself."""
        return _responses().FileResponse(_ASSETS / "index.html", headers=_NEVER)

    def gallery(self, _request: Any) -> Any:
        """All fields, with counts."""
        return _json(self.results.gallery())

    def field(self, request: Any) -> Any:
        """One field."""
        return _json({**self._field(request).about(), "markers": self.results.gating.markers})

    def state(self, request: Any) -> Any:
        """The state of the corrections of a field, and how much of its picture is read."""
        field = self._field(request)
        layers = [int(i) for i in request.query_params.get("layers", "").split(",") if i.isdecimal()]
        return _json({**field.state(), "done": field.done(layers)})

    def contrast(self, request: Any) -> Any:
        """The contrast of a layer at first."""
        return _json(self._field(request).layers.contrast(request.path_params["layer"]))

    def thumbnail(self, request: Any) -> Any:
        """The small picture of a field."""
        path = self.results.thumbnail(request.path_params["name"])
        if path is None:
            raise UserError("this field has no small picture.")
        return _responses().FileResponse(path)

    def at(self, request: Any) -> Any:
        """The nucleus at a place."""
        x, y = (number(request, name) for name in "xy")
        return _json(self._field(request).at(x, y))

    def unsure(self, request: Any) -> Any:
        """The cells of a field next to a cut-off, or without one those with the least probable types."""
        field, marker = self._field(request), request.query_params.get("marker")
        if not marker:
            return _json(field.cells.unsure(_LISTED))
        return _json(self.results.gating.nearest(marker, field.name, number(request, "cut"), _LISTED))

    async def correct(self, request: Any) -> Any:
        """Let tables and counts follow the corrections."""
        await json_body(request)
        return _json({"fields": await _in_thread(self.results.correct)})

    def tile(self, request: Any) -> Any:
        """A tile of the layers that are shown."""
        field, place = self._field(request), request.path_params
        layers = [shown(text) for text in request.query_params.getlist("layer")]
        is_ready = place["level"] <= NEAR or field.layers.done([s.layer for s in layers]) == 1
        picture = field.tile(place["level"], place["x"], place["y"], layers)
        return _picture(picture, "image/jpeg", is_ready)

    def outlines(self, request: Any) -> Any:
        """A tile of outlines; the query holds revision and version of the table, so that a browser may keep it."""
        field, place = self._field(request), request.path_params
        marker = request.query_params.get("marker")
        positive = self.results.gating.positive(marker, field.name, number(request, "cut")) if marker else None
        is_ready = field.cells.is_ready
        picture = field.outlines(place["level"], place["x"], place["y"], positive)
        return _picture(picture, "image/png", is_ready)

    async def act(self, request: Any) -> Any:
        """A correction, given as JSON with the revision that it follows."""
        correction, after = action(await json_body(request))
        return _json(await _in_thread(lambda: self._field(request).act(correction, after)))

    def gate(self, request: Any) -> Any:
        """Histogram and cut-off of a marker, or the counts above another cut-off."""
        marker, field = request.path_params["marker"], self._field(request, request.query_params.get("field", "")).name
        if "cut" in request.query_params:
            return _json(self.results.gating.counts(marker, field, number(request, "cut")))
        return _json(self.results.gating.described(marker, field))

    async def save_gate(self, request: Any) -> Any:
        """Move the cut-off of a marker."""
        data = await json_body(request)
        marker, field = request.path_params["marker"], self._field(request, str(data.get("field", ""))).name
        try:
            cut = float(data["cut"])
        except (KeyError, TypeError, ValueError) as e:
            raise UserError("the cut-off is no number.") from e
        gate = await _in_thread(lambda: self.results.gating.save(marker, field, cut))
        return _json({"cut": gate.cut, "statement": gate.statement})

    def _field(self, request: Any, name: str | None = None) -> FieldView:
        return self.results.field(request.path_params["name"] if name is None else name)


def _responses() -> Any:
    return optional("starlette.responses", *VIEW)


def _json(value: Any) -> Any:
    return _responses().JSONResponse(value, headers=_NEVER)


def _picture(content: bytes, media_type: str, is_ready: bool) -> Any:
    """A tile; a browser may keep it if it is complete, as its address says what it shows."""
    return _responses().Response(content, media_type=media_type, headers=_A_DAY if is_ready else _NEVER)


async def _in_thread(function: Callable[[], Any]) -> Any:
    return await optional("starlette.concurrency", *VIEW).run_in_threadpool(function)


def _refused(_request: Any, error: Exception) -> Any:
    status = 404 if isinstance(error, UnknownError) else 409 if isinstance(error, StaleError) else 400
    return _responses().JSONResponse({"error": str(error)}, status, headers=_NEVER)
