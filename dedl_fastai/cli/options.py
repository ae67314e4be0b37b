"""`with_options`: the options of a command from an `Options` dataclass, with its names, defaults and help."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from ..runs.options.base import Options, flag_of


def with_options(*classes: type[Options], show_defaults: bool = True) -> Callable[[Callable], Callable]:
    """Return a decorator that gives a command the options of `classes`, next to those of its own.

    The command is called with the options that the user gave, as a dict, and with its own options by keyword. An option
    of its own replaces one of the same name in `classes`. Options that were not given show their default in the help.
    """

    def decorate(command: Callable) -> Callable:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        own_names = {p.name for p in own}
        fields = {f.name: f for c in reversed(classes) for f in dataclasses.fields(c) if f.name not in own_names}

        def run(**values: Any) -> None:
            given = {f.name: values.pop(f.name) for f in flagged}
            command(_parsed(fields, {n: v for n, v in given.items() if v is not None}), **values)

        flagged = [f for f in fields.values() if f.metadata.get("own", True)]
        by_topic = sorted(flagged, key=lambda f: classes[0].topics.index(f.metadata["topic"]))
        parameters = [_parameter(classes, f, show_defaults) for f in by_topic]
        parameters += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        typed: Any = run  # typer reads the signature and the annotations
        typed.__signature__ = inspect.Signature(parameters)
        typed.__annotations__ = {p.name: p.annotation for p in parameters}
        typed.__name__, typed.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _parameter(classes: Sequence[type[Options]], field: dataclasses.Field, show_defaults: bool) -> inspect.Parameter:
    """Return the field as an option that is None unless it is given."""
    flag = flag_of(field)
    flags = [f"{flag}/--no-{flag[2:]}"] if field.type in (bool, bool | None) else [flag]
    flags += [f"--{field.metadata['formerly']}"] if "formerly" in field.metadata else []
    holders = [c for c in classes if field.name in c.__dataclass_fields__]
    text = " Or: ".join(dict.fromkeys(c.__dataclass_fields__[field.name].metadata["help"] for c in holders))
    text += _defaults(holders[0], field.name) if show_defaults else ""
    option = typer.Option(*flags, help=text, show_default=False, rich_help_panel=field.metadata["topic"])
    is_list = "more" in field.metadata or "repeats" in field.metadata
    read_as: Any = str if "parse" in field.metadata else list[str] if is_list else field.type
    annotation = Annotated[read_as | None, option]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _parsed(fields: dict[str, dataclasses.Field], given: dict[str, Any]) -> dict[str, Any]:
    """The values of the command line by option; some of a flag's values are two options: the first, and the others."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        metadata = fields[name].metadata
        if "more" in metadata:
            values |= {name: value[0]} if value else {}
            values |= {metadata["more"]: tuple(value[1:])} if len(value) > 1 else {}
        elif "repeats" in metadata:
            values |= {name: tuple(value)} if value else {}
        else:
            values[name] = metadata["parse"](value) if "parse" in metadata else value
    return values


def _defaults(options: type[Options], name: str) -> str:
    """Return the default and what presets change, such as " [480; fast 256; demo 128]"."""
    default = options.default_of(name)
    by_preset = {p: options.default_of(name, p) for p in options.presets}
    changed = [f"{p} {_shown(v)}" for p, v in by_preset.items() if v != default]
    return f"  [{'; '.join([_shown(default), *changed])}]" if default not in ("", None, ()) or changed else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "its own"
