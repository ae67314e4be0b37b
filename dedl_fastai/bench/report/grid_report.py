"""`write_grid_report`: results of a grid next to the published values, as Markdown, figures, CSV, LaTeX and HTML."""

import base64
import html
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...io.files import write_text
from ...runs.figures import save_figure
from ..grid.grid_file import alone_in_grid, read_grid
from ..paper.tables import PaperTable, load_table
from ..paper.variants import variants_of, with_variants
from .figures import table_figure
from .numbers import CellResult, baselines, collect, machines
from .pairs import PairedResult, paired_differences
from .result_tables import baseline_table, cost_table, main_table, paired_table, runs_table
from .text_tables import TextTable

_STYLE = (
    "body{font:15px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}caption{text-align:left;font-weight:bold}"
    "img{max-width:100%}"
)


@dataclass(frozen=True)
class Section:
    """A table of the paper with one set of options: its tables of numbers, remarks and figure."""

    name: str  # of its files
    title: str
    tables: list[TextTable]
    remarks: list[str] = field(default_factory=list)
    figure: Path | None = None
    raw: Sequence[TextTable] = ()  # written as CSV only

    def markdown(self) -> str:
        """Return heading, tables and remarks."""
        remarks = [f"- {r}" for r in self.remarks]
        parts = [f"## {self.title}", *(t.markdown() for t in self.tables), "\n".join(remarks)]
        return "\n\n".join(p for p in parts if p) + "\n"

    def html(self) -> str:
        """Return the same, with the figure embedded."""
        remarks = "".join(f"<li>{html.escape(r)}</li>" for r in self.remarks)
        image = base64.b64encode(self.figure.read_bytes()).decode() if self.figure else ""
        picture = f'<img alt="{html.escape(self.title)}" src="data:image/png;base64,{image}">' if image else ""
        tables = "\n".join(t.html() for t in self.tables)
        return f"<h2>{html.escape(self.title)}</h2>\n{tables}\n<ul>{remarks}</ul>\n{picture}"


def write_grid_report(
    folder: str | Path,
    as_csv: bool = False,
    as_latex: bool = False,
    as_html: bool = False,
    find_table: Callable[[str], PaperTable] = load_table,
) -> str:
    """Write `folder`/report and return its Markdown.

    TABLE.md and TABLE.png hold the results; costs.md holds times, memory and machines. The results are thus the same
    to the byte when a grid is interrupted and continued. Raises `UserError` if there is no grid.
    """
    folder, parts = Path(folder), read_grid(folder)
    with alone_in_grid(folder):
        sections = [*_sections_of(parts, folder, find_table)]
        for section in sections:
            _write_section(section, folder / "report", as_csv, as_latex)
        if as_html:
            _write_html(sections, folder / "report" / "report.html")
    return "\n".join(s.markdown() for s in sections)


def _sections_of(
    parts: Sequence[Mapping[str, Any]], folder: Path, find_table: Callable[[str], PaperTable]
) -> Iterator[Section]:
    """Yield the section of each part, whose figure it draws, and at last that of the costs."""
    everything = []
    for part, name in _named(parts):
        table = with_variants(find_table(part["table"]), variants_of(c["column"] for c in part["cells"]))
        results = collect(part, table, folder)
        section = _section(part, table, results, name=name, out=folder / "report")
        everything.append((section.title, name, results))
        yield section
    yield _cost_section(everything)


def _write_html(sections: Sequence[Section], path: Path) -> None:
    body = "\n".join(s.html() for s in sections)
    head = f'<!doctype html><meta charset="utf-8"><title>dedl_fastai: runs beside the paper</title><style>{_STYLE}'
    write_text(path, f"{head}</style>\n{body}\n")


def _named(parts: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """Return each part with the name of its files: table2, and table2-b for the same table with other options."""
    counts: Counter[str] = Counter()
    named = []
    for part in parts:
        n = counts[part["table"]]
        named.append((part, part["table"] + (f"-{chr(ord('a') + n)}" if n else "")))
        counts[part["table"]] += 1
    return named


def _write_section(section: Section, out: Path, as_csv: bool, as_latex: bool) -> None:
    write_text(out / f"{section.name}.md", section.markdown())
    if as_csv:
        for t in (*section.tables, *section.raw):
            write_text(out / f"{section.name}{t.name}.csv", t.csv())
    if as_latex:
        write_text(out / f"{section.name}.tex", "\n\n".join(t.latex() for t in section.tables) + "\n")


def _section(
    part: Mapping[str, Any], table: PaperTable, results: Sequence[CellResult], name: str, out: Path
) -> Section:
    pairs, trivial = paired_differences(table, results), baselines(results)
    tables = [main_table(table, results)]
    tables += [paired_table(table, pairs)] if pairs else []
    tables += [baseline_table(trivial)] if trivial else []
    path = out / f"{name}.png"
    save_figure(table_figure(table, results, pairs, trivial), path)
    title = f"Table {table.number}: {table.title}" if table.number else table.title
    remarks = _remarks(table, results, pairs) + (_split_remark(part) if table.is_published else [])
    return Section(
        name=name,
        title=f"{title} ({_options(part)})",
        tables=tables,
        remarks=remarks,
        figure=path,
        raw=[runs_table(results)],
    )


def _remarks(table: PaperTable, results: Sequence[CellResult], pairs: Sequence[PairedResult]) -> list[str]:
    remarks = ["± is the standard deviation over seeds (each seed's mean over its folds), or over folds of one seed."]
    if any(len(r.values) < r.asked for r in results):
        remarks.append(
            "Runs as 2/5: so many of those asked for are finished; the means are over those, and leave out seeds that "
            "lack folds which others have."
        )
    if pairs:
        remarks.append("Pairs are runs of one seed (and fold). p values are not corrected for the number of tests.")
    return [*remarks, *table.notes]


def _split_remark(part: Mapping[str, Any]) -> list[str]:
    given = part["options"].get("seg")
    if given is None or given.get("split") == "paper":
        return []
    return ["Tested on other patients than the paper's; with the Van Buren data, --split paper takes those."]


def _options(part: Mapping[str, Any]) -> str:
    """The options that the part was run with, without the paths of files."""
    parts = []
    for task, given in part["options"].items():
        values = {**given, "data": Path(given["data"]).name}
        parts.append(f"{task}: " + ", ".join(f"{k} {v}" for k, v in sorted(values.items())))
    return "; ".join(parts) + (f"; {part['folds']} folds" if part["folds"] is not None else "")


def _cost_section(everything: Sequence[tuple[str, str, Sequence[CellResult]]]) -> Section:
    tables = [cost_table(title, name, results) for title, name, results in everything]
    lines = machines([r for _, _, results in everything for r in results])
    rows = [[str(n), m] for m, n in lines]
    tables.append(TextTable("Machines and versions", ["runs", "where, with what"], rows, "-machines"))
    return Section("costs", "Time and memory", tables)
