"""`write_gate_page`: the page of gates, one file with the histogram, statement and pictures of each marker."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from ..io.files import write_text
from ..phenotypes.gates.gate import Gate
from ..phenotypes.gates.gates import ALL, Gates
from .cell_sources import CellSource
from .embedded import figure_uri, picture_uri
from .gate_agreement import Agreement
from .gate_figure import gate_figure
from .gate_thumbnails import cells_at_the_cut


def write_gate_page(
    path: Path, gates: Gates, sources: Sequence[CellSource], agreement: Agreement | None = None
) -> None:
    """Write the page. All text is escaped; it loads nothing."""
    template = Template((files(__package__) / "gate_page.html").read_text(encoding="utf-8"))
    n = sum(len(s.table) for s in sources)
    page = template.substitute(
        title=f"Cut-offs of {len(gates.markers)} marker{'s' * (len(gates.markers) != 1)}",
        sentence=escape(f"From {n} cells of {len(sources)} field{'s' * (len(sources) != 1)}; {_how(gates)}."),
        summary=_summary(gates),
        phenotypes=_phenotypes(agreement) if agreement else "",
        markers="".join(_section(gates, marker, sources) for marker in gates.markers),
    )
    write_text(path, page)


def _how(gates: Gates) -> str:
    per = "one cut-off for all" if gates.per == "cohort" else f"a cut-off for each {gates.per}"
    return per + ("" if gates.shift == "none" else f", after dividing by the {gates.shift} of each slide")


def _summary(gates: Gates) -> str:
    heads = ["cut-off", "positive", "overlap", "in doubt", "verdict"]
    rows = []
    for marker in gates.markers:
        for group, of_group in gates.groups.items():
            gate = of_group[marker]
            name = marker if group == ALL else f"{marker}, {group}"
            cells = "".join(f'<td class="n">{c}</td>' for c in _numbers(gate))
            rows.append(
                f'<tr><td><a href="#{_anchor(gates, marker)}">{escape(name)}</a></td>{cells}'
                f'<td class="{_css(gate)}">{escape(gate.verdict)}</td></tr>'
            )
    head = "".join(f'<th class="n">{h}</th>' for h in heads[:-1])
    return f"<table><tr><th>marker</th>{head}<th>{heads[-1]}</th></tr>{''.join(rows)}</table>"


def _phenotypes(agreement: Agreement) -> str:
    """A table of the phenotypes above each cut-off, and the confusion matrix of types by rules."""
    rows = [
        [escape(marker), *(f"{n.above} of {n.cells}" for n in by_name.values())]
        for marker, by_name in agreement.above.items()
    ]
    parts = [
        "<h2>Phenotypes of the tables</h2><p>Cells of each phenotype above the cut-offs:</p>",
        _table(["marker", *map(escape, agreement.vocab)], rows),
    ]
    if agreement.confusion is not None:
        heads = ["phenotype", *map(escape, agreement.vocab), "another, none"]
        rows = [[escape(n), *map(str, r)] for n, r in zip(agreement.vocab, agreement.confusion, strict=True)]
        sentence = f"{agreement.sentence[0].upper()}{agreement.sentence[1:]}"
        parts.append(f"<p>{escape(sentence)}. Phenotypes (rows) and types by the rules (columns):</p>")
        parts.append(_table(heads, rows))
    return "".join(parts)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of which all columns but the first are numbers; the texts are HTML."""
    head = "".join(f'<th class="n">{h}</th>' for h in heads[1:])
    cells = ["".join(f'<td class="n">{c}</td>' for c in row[1:]) for row in rows]
    body = "".join(f"<tr><td>{row[0]}</td>{rest}</tr>" for row, rest in zip(rows, cells, strict=True))
    return f"<table><tr><th>{heads[0]}</th>{head}</tr>{body}</table>"


def _numbers(gate: Gate) -> list[str]:
    share = f"{gate.positive / gate.cells:.1%}" if gate.cells and gate.cut is not None else "-"
    shares = ["-" if v is None else f"{v:.1%}" for v in (gate.overlap, gate.in_doubt)]
    return ["-" if gate.cut is None else f"{gate.cut:.4g}", share, *shares]


def _css(gate: Gate) -> str:
    return "good" if gate.verdict == "well separated" else "fair" if gate.verdict == "partly separated" else "bad"


def _anchor(gates: Gates, marker: str) -> str:
    return f"m{gates.markers.index(marker)}"


def _section(gates: Gates, marker: str, sources: Sequence[CellSource]) -> str:
    parts = [f'<h2 id="{_anchor(gates, marker)}">{escape(marker)}</h2>']
    for group, of_group in gates.groups.items():
        inside = [s for s in sources if gates.per == "cohort" or getattr(s.origin, gates.per) == group]
        if group != ALL:
            parts.append(f"<h3>{escape(group)}</h3>")
        parts.append(_of_gate(gates, of_group[marker], inside))
    return "".join(parts)


def _of_gate(gates: Gates, gate: Gate, sources: Sequence[CellSource]) -> str:
    values = {s.name: gates.values(s.table, gate.marker, s.origin) for s in sources}
    factors = gates.factors.get(gate.marker, {})
    slides: dict[str, np.ndarray] = {}
    for s in sources if factors else ():
        as_measured = values[s.name] * factors[s.origin.slide]
        slides[s.origin.slide] = np.append(slides.get(s.origin.slide, []), as_measured)
    figure = gate_figure(gate, np.concatenate([np.array([]), *values.values()]), slides)
    plot = f'<img class="plot" alt="histogram of {escape(gate.marker)}" src="{figure_uri(figure)}">'
    parts = [f"<p>{escape(gate.statement)}</p>", plot, _shifts(factors)]
    if gate.cut is not None:
        parts.append(_thumbnails(sources, gate, values, factors))
    columns = ", ".join(gate.columns)
    return f'{"".join(parts)}<p class="small">Measured in: {escape(columns)}</p>'


def _thumbnails(sources: Sequence[CellSource], gate: Gate, values: dict, factors: dict[str, float]) -> str:
    assert gate.cut is not None
    strips = cells_at_the_cut(sources, gate.marker, values, cut=gate.cut, factors=factors)
    if strips is None:
        return ""
    names = ("just below the cut-off", "just above the cut-off")
    figures = (
        f'<figure><figcaption>{name}</figcaption><img alt="cells {name}" src="{picture_uri(strip)}"></figure>'
        for name, strip in zip(names, strips, strict=True)
    )
    return f'<div class="cells">{"".join(figures)}</div>'


def _shifts(factors: dict[str, float]) -> str:
    if not factors:
        return ""
    items = ", ".join(f"{escape(slide)} {factor:.3g}" for slide, factor in factors.items())
    return f'<p class="small">Intensities were divided by: {items}</p>'
