"""`dedl-fastai bench list`: the paper's tables, the runs behind them, and an estimate of their hours here."""

import json
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ...bench.paper.costs import Speed
    from ...bench.paper.tables import PaperTable

WIDTH = 100
_NUMBER = 7  # least width of a column, so that headings break between words


def list_tables(
    table: Annotated[
        str, typer.Argument(help="Show the rows of a table, such as table9 (default: list all tables).")
    ] = "",
    time: Annotated[bool, typer.Option("--time/--no-time", help="Measure a training step and estimate hours.")] = True,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the paper's tables: cells, runs at the paper's seeds and folds, and hours on this machine.

    The hours are an estimate: a measured training step, scaled by the operations and activations of each network.
    """
    from ...bench.paper.costs import measure_speed
    from ...bench.paper.tables import MORE, TABLES, load_table

    tables = [load_table(table)] if table else [load_table(n) for n in (*TABLES, *MORE)]
    speed = measure_speed(device) if time else None
    if as_json:
        typer.echo(json.dumps([_as_dict(t, speed) for t in tables], indent=2))
    else:
        lines = _row_lines(tables[0], speed) if table else _table_lines(tables, speed)
        typer.echo("\n".join([*lines, *_estimate_lines(speed)]))


def _cost(cells: Sequence[Any], speed: "Speed | None") -> list[str]:
    """Number of distinct runs, and with a speed their hours."""
    from ...bench.paper.costs import distinct_runs, hours

    runs = len(distinct_runs(cells))
    shown = [str(runs)] if runs else ["-"]
    return shown if speed is None else [*shown, f"{hours(cells, speed):.1f}" if runs else "-"]


def _table_lines(tables: Sequence["PaperTable"], speed: "Speed | None") -> list[str]:
    rows = [["table", "", "cells", "runs", "hours"][: 4 if speed is None else 5]]
    rows += [[t.name, t.title, str(len(t.cells)), *_cost(t.cells, speed)] for t in tables]
    cells = [c for t in tables for c in t.cells]
    rows.append(["all", "", str(len(cells)), *_cost(cells, speed)])
    return [
        *_aligned(rows, left=2),
        "",
        *_wrapped("runs: trainings at the paper's seeds and folds; the last line counts runs that tables share once."),
    ]


def _row_lines(table: "PaperTable", speed: "Speed | None") -> list[str]:
    heads = ["row", *table.columns, "runs", "hours"][: len(table.columns) + (2 if speed is None else 3)]
    body = [[row.key, *(c.printed for c in row.cells), *_cost(row.cells, speed)] for row in table.rows]
    widths = [max(_NUMBER, *(len(line[i]) for line in body)) for i in range(len(heads))]
    broken = [textwrap.wrap(h, w, break_long_words=False) for h, w in zip(heads, widths, strict=True)]
    height = max(len(b) for b in broken)
    head = [[b[i - height + len(b)] if i >= height - len(b) else "" for b in broken] for i in range(height)]
    title = f"Table {table.number}. {table.title}" if table.number else table.title
    metrics = ", ".join(dict.fromkeys([*(c.metric for c in table.cells), *(b.metric for b in table.beside)]))
    reasons = dict.fromkeys(
        f"{r.key if all(o.why_not for o in r.cells) else f'{r.key}, {c.column}'}: no run ({c.why_not})."
        for r in table.rows
        for c in r.cells
        if c.why_not
    )
    return [
        title,
        *_wrapped(f"{table.metric}; {table.behind}; of our runs: {metrics}"),
        "",
        *_aligned([*head, *body], left=1),
        "",
        *(line for note in (*reasons, *table.notes) for line in _wrapped(note, "- ")),
    ]


def _aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Pad cells to columns, the first `left` ones left-aligned."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    sides = ["<" if i < left else ">" for i in range(len(widths))]
    return ["  ".join(f"{c:{s}{w}}" for c, s, w in zip(r, sides, widths, strict=True)).rstrip() for r in rows]


def _wrapped(text: str, bullet: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=bullet, subsequent_indent=" " * len(bullet))


def _estimate_lines(speed: "Speed | None") -> list[str]:
    if speed is None:
        return []
    text = (
        f"hours: an estimate for one run after another on {speed.device}, from a step of a small U-Net measured now "
        f"({speed.seconds_a_unit:.2g} s per billion multiply-adds) and the operations and activations of each network; "
        "all epochs on the paper's amount of data, without evaluation; correct within a factor of about two. "
        "Early stopping shortens it."
    )
    return ["", *_wrapped(text)]


def _as_dict(table: "PaperTable", speed: "Speed | None") -> dict[str, Any]:
    from dataclasses import asdict

    from ...bench.paper.costs import distinct_runs, hours

    about = asdict(table)
    if not table.baseline:  # only a table of arms has these
        del about["baseline"], about["row_options"]
    return {
        **about,
        "runs": len(distinct_runs(table.cells)),
        "hours_estimate": None if speed is None else round(hours(table.cells, speed), 2),
    }
