"""What a page sends: corrections, layers and numbers, checked. Raises `UserError` for anything else."""

import json
import math
from typing import Any

from ..errors import UserError
from ..io.corrections import Action
from .pictures import Shown

_MOST_BYTES = 1 << 20  # of a correction


async def json_body(request: Any) -> dict[str, Any]:
    """The JSON object that a page sent. Another type would be a form, which other sites can send too."""
    if request.headers.get("content-type") != "application/json":
        raise UserError("a JSON object is needed.")
    if int(request.headers.get("content-length") or 0) > _MOST_BYTES:
        raise UserError("the correction is too large.")
    try:
        data = json.loads(await request.body())
    except (ValueError, RecursionError) as e:
        raise UserError("the request is no JSON.") from e
    if not isinstance(data, dict):
        raise UserError("a JSON object is needed.")
    return data


def action(data: dict[str, Any]) -> tuple[Action, int]:
    """The action that a page sent, and the revision it follows. Raises `UserError` if something is missing."""
    try:
        points = data.get("points")
        given = data.get("type")
        action = Action(
            str(data["action"]),
            labels=tuple(int(i) for i in data.get("labels", ())),
            points=None if points is None else tuple((round(float(x), 2), round(float(y), 2)) for x, y in points),
            type=None if given is None else str(given),
        )
        if not all(math.isfinite(v) for point in action.points or () for v in point):
            raise ValueError("a place is not finite")
        return action, int(data["revision"])
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise UserError(f"this is no correction ({e}).") from e


def shown(text: str) -> Shown:
    """A layer as the page asks for it: number, low, high, colour as rrggbb, separated by commas."""
    try:
        layer, low, high, color = text.split(",")
        red, green, blue = bytes.fromhex(color)
        return Shown(int(layer), float(low), float(high), (red, green, blue))
    except ValueError as e:
        raise UserError(f"{text!r} is no layer.") from e


def number(request: Any, name: str) -> float:
    """A number in the query of a request."""
    try:
        return float(request.query_params[name])
    except (KeyError, ValueError) as e:
        raise UserError(f"{name!r} must be a number.") from e
