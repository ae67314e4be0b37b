"""`TextTable`: a table of strings as Markdown, LaTeX, CSV and HTML; and scores, times and p values as strings."""

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

NONE = "–"  # for a missing number
_LATEX = {c: rf"\{c}" for c in "&%_#${}"} | {"±": r"$\pm$", "–": "--", "−": "$-$", "<": "$<$", ">": "$>$"}
_LATEX |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}


@dataclass(frozen=True)
class TextTable:
    """Column heads and rows of cells, with a title."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    name: str = ""  # end of the name of its CSV file

    def markdown(self) -> str:
        """Return a pipe table below its title in bold."""
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(map(_no_pipe, line))} |" for line in lines)])

    def latex(self) -> str:
        """Return a table environment with booktabs rules."""
        body = [_latex_line(row) for row in self.rows]
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_latex(self.title)}}}",
                rf"\begin{{tabular}}{{{'l' * len(self.heads)}}}",
                r"\toprule",
                _latex_line(self.heads),
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            ]
        )

    def csv(self) -> str:
        """Return heads and rows, separated by commas."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.heads, *self.rows])
        return out.getvalue()

    def html(self) -> str:
        """Return a table element."""
        head = "".join(f"<th>{html.escape(h)}</th>" for h in self.heads)
        rows = ("".join(f"<td>{html.escape(c)}</td>" for c in row) for row in self.rows)
        body = "\n".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><caption>{html.escape(self.title)}</caption><tr>{head}</tr>\n{body}</table>"


def _no_pipe(text: str) -> str:
    return text.replace("|", r"\|")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def shown(value: float | None, sd: float | None, unit: str) -> str:
    """Write a value and its spread: "0.9123 ± 0.0045", "1h 24m 44s ± 3.0s", "9.7e-02 ± 1.2e-03" for a ratio."""
    if value is None:
        return NONE
    return _number(value, unit) if sd is None else f"{_number(value, unit)} ± {_number(sd, unit)}"


def _number(value: float, unit: str) -> str:
    if unit == "s":
        return duration(value)
    return f"{value:.1e}" if unit == "ratio" else f"{value:.2f}" if unit == "seconds" else f"{value:.4f}"


def shown_difference(value: float | None, unit: str) -> str:
    """Write a difference with its sign: "+0.0123", "-2m 03s"."""
    if value is None:
        return NONE
    if unit == "s":
        return ("-" if value < 0 else "+") + duration(abs(value))
    return f"{value:+.1e}" if unit == "ratio" else f"{value:+.4f}"


def duration(seconds: float) -> str:
    """Write seconds as "1h 24m 44s", "2m 03s" or "4.2s"."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m {s:02d}s" if hours else f"{minutes}m {s:02d}s"


def shown_p(value: float) -> str:
    """Write a p value as "0.012" or "<0.001"; NaN is a dash."""
    if value != value:
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"
