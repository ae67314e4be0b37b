"""`Command`, the class of all commands: help by topic, and messages that name the library's arguments as flags."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer
from typer.core import TyperCommand

from ..errors import UserError

log = logging.getLogger(__name__)

_ARGUMENTS, _OTHER = "Arguments", "Options"  # the first and the last topic of the help


class Command(TyperCommand):
    """A command of `dedl-fastai`. An error that a user can cause is printed as one sentence; the exit code is 2."""

    def invoke(self, ctx):
        """Run the command."""
        flags = {p.name: p.opts[0] for p in self.params if p.name and p.opts and p.opts[0].startswith("--")}
        with _log_lines_with(flags):
            try:
                return super().invoke(ctx)
            except UserError as e:
                print_error(e, flags)
                raise typer.Exit(2) from e
            except OSError as e:  # whatever the disk or the permissions are: one sentence, as for other errors of use
                log.debug("%s", e, exc_info=e)
                print_error(UserError(f"{e.filename or 'a file'}: {e.strerror or e}."), flags)
                raise typer.Exit(2) from e

    def format_options(self, ctx, formatter) -> None:
        """Write the options of each topic (`rich_help_panel`) under its name, topics in order of appearance."""
        topics: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                is_argument = param.param_type_name == "argument"
                topic = _ARGUMENTS if is_argument else getattr(param, "rich_help_panel", None) or _OTHER
                topics.setdefault(topic, []).append(record)
        for topic in sorted(topics, key=lambda t: (t == _OTHER, t != _ARGUMENTS)):
            with formatter.section(topic):
                formatter.write_dl(topics[topic])


class FlagFormatter(logging.Formatter):
    """Formats log lines of the library, with its arguments named as flags."""

    def __init__(self, flags: Mapping[str, str]):
        super().__init__("%(message)s")
        self.flags = flags

    def format(self, record: logging.LogRecord) -> str:
        """Return the message of a log record with arguments shown as flags."""
        return with_flags(super().format(record), self.flags)


def print_error(error: UserError, flags: Mapping[str, str]) -> None:
    """Print the message on stderr, with arguments named as flags."""
    typer.echo(f"error: {with_flags(error.message, flags)}", err=True)


def with_flags(message: str, flags: Mapping[str, str]) -> str:
    """Replace `name=value` by "--flag value", and a name in backticks by its flag, for each name in `flags`."""

    def with_value(match: re.Match[str]) -> str:
        return f"{flags[match[1]]} " if match[1] in flags else match[0]

    def alone(match: re.Match[str]) -> str:
        return flags.get(match[1], match[0])

    message = re.sub(r"(?<![\w./\\-])([a-z][a-z0-9_]*)=(?=\S)", with_value, message)  # not the folder in runs/lr=0.1
    return re.sub(r"`([a-z][a-z0-9_]*)`", alone, message)


@contextmanager
def _log_lines_with(flags: Mapping[str, str]) -> Iterator[None]:
    """Let the handlers of the root logger name arguments as flags while a command runs."""
    before = [(handler, handler.formatter) for handler in logging.getLogger().handlers]
    for handler, _ in before:
        handler.setFormatter(FlagFormatter(flags))
    try:
        yield
    finally:
        for handler, formatter in before:
            handler.setFormatter(formatter)
