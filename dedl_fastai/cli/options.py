"""Command-line options made from an `Options` dataclass: one place for names, defaults and help."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..experiment.options import Options, flag_of


def with_options(options: type[Options]) -> Callable:
    """Decorator: `command(given, ...)` gets the options a user gave as a dict; all others show their defaults."""

    def decorate(command: Callable) -> Callable:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        names = [f.name for f in dataclasses.fields(options)]

        def run(**values: Any) -> None:
            given = {n: values.pop(n) for n in names}
            command({n: v for n, v in given.items() if v is not None}, **values)

        made = [_parameter(options, f) for f in dataclasses.fields(options)]
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        run.__signature__ = inspect.Signature([*made, *own])
        run.__annotations__ = {p.name: p.annotation for p in [*made, *own]}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _parameter(options: type[Options], field: dataclasses.Field) -> inspect.Parameter:
    flag = flag_of(field)
    flags = [f"{flag}/--no-{flag[2:]}"] if field.type is bool else [flag]
    annotation = Annotated[
        field.type | None,
        typer.Option(*flags, help=field.metadata["help"] + _defaults(options, field.name), show_default=False),
    ]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _defaults(options: type[Options], name: str) -> str:
    """ " [480; fast 256; demo 128]": the default, and what presets change."""
    default = options.default_of(name)
    others = {p: options.default_of(name, p) for p in options.presets}
    changed = [f"{p} {_shown(v)}" for p, v in others.items() if v != default]
    return f"  [{'; '.join([_shown(default), *changed])}]" if default != "" or changed else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "its own"
