"""Pages of the command line: one for each command, from its own help."""

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from dedl_fastai.cli import app

PROGRAM = "dedl-fastai"
_ARGUMENTS, _OTHER = "Arguments", "Options"


def command_pages() -> dict[str, str]:
    """Return the Markdown page of each command by name, and "index"."""
    root = get_command(app)
    top = root.context_class(root, info_name=PROGRAM)
    pages = {name: "\n".join(_lines(command, name, top, depth=1)) for name, command in root.commands.items()}
    rows = [f"| [{name}]({name}.md) | {command.get_short_help_str(200)} |" for name, command in root.commands.items()]
    nav = ["```{toctree}", ":hidden:", *root.commands, "```"]
    head = [
        "# Commands",
        "",
        f"`{PROGRAM} COMMAND --help` says the same.",
        "",
        "| command | what it does |",
        "|---|---|",
    ]
    options = ["", "## Options of all commands", "", *_tables(root, top), ""]
    return {"index": "\n".join([*head, *rows, *options, *nav]), **pages}


def in_cell(text: str) -> str:
    """Markdown that may be in a cell of a table."""
    return text.replace("|", "\\|")


def _lines(command: Any, name: str, parent: Any, depth: int) -> Iterator[str]:
    """The heading, usage, help and options of a command, and of those below it."""
    ctx = command.context_class(command, info_name=name, parent=parent)
    yield from (f"{'#' * depth} {ctx.command_path}", "", "```text", " ".join(_usage(command, ctx)), "```", "")
    yield from (_escaped((command.help or "").split("\f")[0]), "")
    yield from _tables(command, ctx)
    for below, sub in getattr(command, "commands", {}).items():
        yield from _lines(sub, below, ctx, depth + 1)


def _usage(command: Any, ctx: Any) -> list[str]:
    return [ctx.command_path, *command.collect_usage_pieces(ctx)]


def _tables(command: Any, ctx: Any) -> Iterator[str]:
    """A table of options for each topic of the help."""
    topics: dict[str, list[str]] = {}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            is_argument = param.param_type_name == "argument"
            topic = _ARGUMENTS if is_argument else getattr(param, "rich_help_panel", None) or _OTHER
            name = record[0].split(" <")[0] if is_argument else record[0]
            topics.setdefault(topic, []).append(f"| `{in_cell(name)}` | {in_cell(_escaped(record[1]))} |")
    for topic in sorted(topics, key=lambda t: (t == _OTHER, t != _ARGUMENTS)):
        yield from (f"**{topic}**", "", "| name | meaning |", "|---|---|", *topics[topic], "")


def _escaped(text: str) -> str:
    """Plain text as Markdown; only what is in backticks is formatted, as code."""
    parts = text.split("`")
    return "`".join(part if i % 2 else re.sub(r"([*_<>\[\]])", r"\\\1", part) for i, part in enumerate(parts))
