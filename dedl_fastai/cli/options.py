"""Command-line options made from an `Options` dataclass: one place for names, defaults and help."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from ..runs.options.base import Options, flag_of


def with_options(*classes: type[Options], show_defaults: bool = True) -> Callable:
    """Decorator: `command(given, ...)` gets the options a user gave as a dict; all others show their defaults.

    With several classes of options the command has the options of all; an option of the command's own wins.
    """

    def decorate(command: Callable) -> Callable:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        taken = {p.name for p in own}
        fields = {f.name: f for c in reversed(classes) for f in dataclasses.fields(c) if f.name not in taken}

        def run(**values: Any) -> None:
            given = {n: values.pop(n) for n in fields}
            command({n: _parsed(fields[n], v) for n, v in given.items() if v is not None}, **values)

        by_topic = sorted(fields.values(), key=lambda f: classes[0].topics.index(f.metadata["topic"]))
        made = [_parameter(classes, f, show_defaults) for f in by_topic]
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        run.__signature__ = inspect.Signature([*made, *own])
        run.__annotations__ = {p.name: p.annotation for p in [*made, *own]}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _parameter(classes: Sequence[type[Options]], field: dataclasses.Field, show_defaults: bool) -> inspect.Parameter:
    flag = flag_of(field)
    flags = [f"{flag}/--no-{flag[2:]}"] if field.type is bool else [flag]
    holders = [c for c in classes if field.name in c.__dataclass_fields__]
    text = " Or: ".join(dict.fromkeys(c.__dataclass_fields__[field.name].metadata["help"] for c in holders))
    text += _defaults(holders[0], field.name) if show_defaults else ""
    option = typer.Option(*flags, help=text, show_default=False, rich_help_panel=field.metadata["topic"])
    read_as = str if "parse" in field.metadata else field.type
    annotation = Annotated[read_as | None, option]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _parsed(field: dataclasses.Field, value: Any) -> Any:
    return field.metadata["parse"](value) if "parse" in field.metadata else value


def _defaults(options: type[Options], name: str) -> str:
    """ " [480; fast 256; demo 128]": the default, and what presets change."""
    default = options.default_of(name)
    others = {p: options.default_of(name, p) for p in options.presets}
    changed = [f"{p} {_shown(v)}" for p, v in others.items() if v != default]
    return f"  [{'; '.join([_shown(default), *changed])}]" if default not in ("", None) or changed else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "its own"
