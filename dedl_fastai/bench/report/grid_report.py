"""`write_grid_report`: what a grid came to, beside the paper: Markdown, figures, and CSV, LaTeX and HTML if wanted."""

import base64
import html
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...io.files import write_text
from ...runs.figures import save_figure
from ..grid.plan import read_grid
from ..paper.tables import PaperTable, load_table
from .figures import table_figure
from .numbers import CellResult, PairedResult, app_differences, baselines, collect, costs, machines
from .text_tables import NONE, TextTable, shown, shown_difference, shown_p

_STYLE = (
    "body{font:15px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}caption{text-align:left;font-weight:bold}"
    "img{max-width:100%}"
)


@dataclass(frozen=True)
class Section:
    """One table of the paper with one set of options: its tables of numbers, remarks and figure."""

    name: str  # of its files
    title: str
    tables: list[TextTable]
    remarks: list[str] = field(default_factory=list)
    figure: Path | None = None
    raw: Sequence[TextTable] = ()  # for CSV alone

    def markdown(self) -> str:
        """Heading, tables, remarks."""
        remarks = [f"- {r}" for r in self.remarks]
        parts = [f"## {self.title}", *(t.markdown() for t in self.tables), "\n".join(remarks)]
        return "\n\n".join(p for p in parts if p) + "\n"

    def html(self) -> str:
        """The same, with the figure inside."""
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

    A .md and a .png a table hold what the runs determine; costs.md holds what they took and where. So the former
    come out again to the letter when a grid is interrupted and goes on. Raises `UserError` if there is no grid.
    """
    folder, out = Path(folder), Path(folder) / "report"
    sections, everything = [], []
    for part, name in _named(read_grid(folder)):
        table = find_table(part["table"])
        results = collect(part, table, folder)
        sections.append(_section(part, table, results, name, out))
        everything.append((sections[-1].title, name, results))
    for section in sections:
        _write_section(section, out, as_csv, as_latex)
    cost = _cost_section(everything)
    _write_section(cost, out, as_csv, as_latex)
    if as_html:
        body = "\n".join(s.html() for s in (*sections, cost))
        head = f'<!doctype html><meta charset="utf-8"><title>dedl_fastai: runs beside the paper</title><style>{_STYLE}'
        write_text(out / "report.html", f"{head}</style>\n{body}\n")
    return "\n".join(s.markdown() for s in (*sections, cost))


def _named(parts: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """Each part with the name of its files: table2, and table2-b for the same table with other options."""
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
    pairs, trivial = app_differences(results), baselines(results)
    tables = [_main_table(table, results)]
    tables += [_paired_table(pairs)] if pairs else []
    tables += [_baseline_table(trivial)] if trivial else []
    path = out / f"{name}.png"
    save_figure(table_figure(table, results, pairs, trivial), path)
    title = f"Table {table.number}: {table.title}" if table.number else table.title
    remarks = _remarks(table, results, pairs) + _split_remark(part)
    return Section(name, f"{title} ({_options(part)})", tables, remarks, path, [_runs_table(results)])


def _main_table(table: PaperTable, results: Sequence[CellResult]) -> TextTable:
    rows = [
        [
            r.row.label,
            r.cell.column,
            r.cell.printed,
            shown(r.mean, r.sd, r.cell.unit),
            shown_difference(r.difference, r.cell.unit),
            _runs(r),
        ]
        for r in results
    ]
    return TextTable(
        f"{table.metric}, published and here", ["row", "column", "published", "here", "difference", "runs"], rows
    )


def _runs(r: CellResult) -> str:
    """ "5", "2/5" if some are missing, "2/5, 1 failed"."""
    if not r.asked:
        return f"not run: {r.cell.why_not}" if r.cell.why_not else "not asked for"
    count = str(r.asked) if len(r.values) == r.asked else f"{len(r.values)}/{r.asked}"
    return f"{count}, {r.failed} failed" if r.failed else count


def _runs_table(results: Sequence[CellResult]) -> TextTable:
    """Every finished run's value in full, for other programs."""
    rows = [
        [r.row.label, r.cell.column, r.cell.metric, str(seed), str(fold), repr(value), r.folders[seed, fold].name]
        for r in results
        for (seed, fold), value in sorted(r.values.items())
    ]
    heads = ["row", "column", "metric", "seed", "fold", "value", "run"]
    return TextTable("The runs", heads, rows, "-runs")


def _paired_table(pairs: Sequence[PairedResult]) -> TextTable:
    rows = []
    for p in pairs:
        unit, h = p.result.cell.unit, p.here
        interval = NONE
        if h["n"] > 1:
            interval = f"{shown_difference(h['low'], unit)} to {shown_difference(h['high'], unit)}"
        here = [shown_difference(h["mean"], unit), interval, shown_p(h["p"]), shown_p(p.signed_rank_p), str(h["n"])]
        rows.append([p.result.row.label, p.result.cell.column, shown_difference(p.published, unit), *here])
    heads = ["row", "column", "published", "here", "95 % interval", "p, t test", "p, signed rank", "pairs"]
    return TextTable("With APP minus without, paired", heads, rows, "-paired")


def _baseline_table(trivial: Mapping[str, Sequence[float]]) -> TextTable:
    rows = [
        [name, shown(statistics.fmean(v), statistics.stdev(v) if len(v) > 1 else None, ""), str(len(v))]
        for name, v in trivial.items()
    ]
    return TextTable("Trivial predictors on the same items", ["baseline", "here", "runs"], rows, "-baselines")


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
    """What the part was run with, without the places of files."""
    said = []
    for task, given in part["options"].items():
        values = {**given, "data": Path(given["data"]).name}
        said.append(f"{task}: " + ", ".join(f"{k} {v}" for k, v in sorted(values.items())))
    return "; ".join(said) + (f"; {part['folds']} folds" if part["folds"] is not None else "")


def _cost_section(everything: Sequence[tuple[str, str, Sequence[CellResult]]]) -> Section:
    tables = [_cost_table(title, name, results) for title, name, results in everything]
    lines = machines([r for _, _, results in everything for r in results])
    rows = [[str(n), m] for m, n in lines]
    tables.append(TextTable("Machines and versions", ["runs", "where, with what"], rows, "-machines"))
    return Section("costs", "Time and memory", tables)


def _cost_table(title: str, name: str, results: Sequence[CellResult]) -> TextTable:
    rows = []
    for r in results:
        if r.folders:
            c = costs(r)
            seconds = c["train_seconds"]
            spread = statistics.stdev(seconds) if len(seconds) > 1 else None
            memory = [f"{max(c[n])} MB" if c[n] else NONE for n in ("peak_mb", "peak_gpu_mb")]
            time = shown(statistics.fmean(seconds), spread, "s") if seconds else NONE
            rows.append([r.row.label, r.cell.column, str(len(r.folders)), time, *memory])
    heads = ["row", "column", "runs", "training", "peak memory", "peak GPU memory"]
    return TextTable(title, heads, rows, f"-{name}")
