"""Command-line options made from an `Options` dataclass: one place for names, defaults and help."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from ..runs.options.base import Options, flag_of


def with_options(*kinds: type[Options]) -> Callable:
    """Decorator: `command(given, ...)` gets the options a user gave as a dict; all others show their defaults.

    Of several kinds of options the command has all, without defaults; an option of the command's own wins.
    """

    def decorate(command: Callable) -> Callable:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        taken = {p.name for p in own}
        fields = {f.name: f for kind in reversed(kinds) for f in dataclasses.fields(kind) if f.name not in taken}

        def run(**values: Any) -> None:
            given = {n: values.pop(n) for n in fields}
            command({n: v for n, v in given.items() if v is not None}, **values)

        made = [_parameter(kinds, f) for f in fields.values()]
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        run.__signature__ = inspect.Signature([*made, *own])
        run.__annotations__ = {p.name: p.annotation for p in [*made, *own]}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _parameter(kinds: Sequence[type[Options]], field: dataclasses.Field) -> inspect.Parameter:
    flag = flag_of(field)
    flags = [f"{flag}/--no-{flag[2:]}"] if field.type is bool else [flag]
    annotation = Annotated[field.type | None, typer.Option(*flags, help=_help(kinds, field), show_default=False)]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(kinds: Sequence[type[Options]], field: dataclasses.Field) -> str:
    if len(kinds) == 1:
        return field.metadata["help"] + _defaults(kinds[0], field.name)
    every = (kind.__dataclass_fields__.get(field.name) for kind in kinds)
    return " Or: ".join(dict.fromkeys(f.metadata["help"] for f in every if f))


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
