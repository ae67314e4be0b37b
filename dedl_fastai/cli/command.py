"""`Command`: options listed by topic in the help, and the library's arguments named as flags in its messages."""

import logging
import re
from collections.abc import Mapping

import typer
from typer.core import TyperCommand

from ..errors import UserError

_OTHER = "Options"


class Command(TyperCommand):
    """A command of `dedl-fastai`. What a user can cause ends as one sentence and exit code 2."""

    def invoke(self, ctx):
        """Run the command."""
        flags = flags_of(ctx)
        for handler in logging.getLogger().handlers:
            handler.setFormatter(FlagFormatter(flags))
        try:
            return super().invoke(ctx)
        except UserError as e:
            typer.echo(f"error: {with_flags(e.message, flags)}", err=True)
            raise typer.Exit(2) from e

    def format_options(self, ctx, formatter) -> None:
        """Write the options of each topic (`rich_help_panel`) under its name, topics in order of appearance."""
        topics: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                topic = "Arguments" if param.param_type_name == "argument" else None
                topic = topic or getattr(param, "rich_help_panel", None) or _OTHER
                topics.setdefault(topic, []).append(record)
        for topic in sorted(topics, key=lambda t: (t == _OTHER, t != "Arguments")):
            with formatter.section(topic):
                formatter.write_dl(topics[topic])


class FlagFormatter(logging.Formatter):
    """Log lines of the library, with its arguments named as this command's flags."""

    def __init__(self, flags: Mapping[str, str]):
        super().__init__("%(message)s")
        self.flags = flags

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return with_flags(super().format(record), self.flags)


def flags_of(ctx: typer.Context) -> dict[str, str]:
    """Argument -> flag, of all options of the command."""
    return {p.name: p.opts[0] for p in ctx.command.params if p.name and p.opts and p.opts[0].startswith("--")}


def with_flags(message: str, flags: Mapping[str, str]) -> str:
    """The message with `name=value` as "--flag value" and a name in backticks as its flag, where there is one."""

    def assigned(match: re.Match[str]) -> str:
        return f"{flags[match[1]]} " if match[1] in flags else match[0]

    def quoted(match: re.Match[str]) -> str:
        return flags.get(match[1], match[0])

    return re.sub(r"`([a-z][a-z0-9_]*)`", quoted, re.sub(r"(?<![\w-])([a-z][a-z0-9_]*)=(?=\S)", assigned, message))
