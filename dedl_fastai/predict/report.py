"""`report.html` of a folder of results: one file that holds its pictures, made again from what lies in the folder."""

import base64
import io
import json
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..io.files import write_text
from ..phenotypes.classify import OTHER
from .overlay import NO_CLASS, NO_RULES, Color, class_colors
from .record import AREA_STEPS, Record, thumbnail_file

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; } th { text-align: left; color: #57606a; font-weight: 600; }
th, td { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #e3e6ea; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { display: flex; width: 260px; height: .95rem; margin-top: .2rem; } .bar i { display: block; height: 100%; }
.key { margin-right: 1rem; white-space: nowrap; }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .35em; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; display: block; border-radius: 3px; background: #000; }
figcaption { font-size: .82rem; color: #57606a; overflow-wrap: anywhere; }
.failed { background: #fff1f0; border-left: 4px solid #cf222e; padding: .5rem 1rem; overflow-wrap: anywhere; }
.plot { max-width: 100%; } td.wide { overflow-wrap: anywhere; max-width: 60rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$sentence</p>
$failed
<h2>Fields</h2>
<p>$legend</p>
<div class="scroll">$table</div>
<p>Uncertainty is the mean entropy of the probability map, in bits: 0 where the model is sure, 1 where it guesses.</p>
<h2>Area of the nuclei</h2>
$areas
<h2>Overlays</h2>
<div class="gallery">$gallery</div>
<h2>How this was made</h2>
$made
</body>
</html>
""")


def write_report(out: Path, record: Sequence[Record], failed: Sequence[str] = ()) -> None:
    """Write `out`/report.html. All text is escaped; nothing is loaded from elsewhere; no date, no time."""
    colors = class_colors(_ordered(n for f in record for n in f["phenotypes"]))
    cells = sum(f["cells"] for f in record)
    title = f"{len(record)} {'field' if len(record) == 1 else 'fields'}, {cells} nuclei"
    page = _PAGE.substitute(
        title=title,
        sentence=escape(_sentence(record)),
        failed=_failed(failed),
        legend=_legend(record, colors),
        table=_table(record, colors),
        areas="".join(_areas(record, unit) for unit in AREA_STEPS),
        gallery="".join(_figure(out, f) for f in record),
        made=_made(record),
    )
    write_text(out / "report.html", page)


def _ordered(names: Iterable[str]) -> list[str]:
    """The names once each, the remainder class last."""
    told = list(dict.fromkeys(names))
    return [n for n in told if n != OTHER] + [n for n in told if n == OTHER]


def _sentence(record: Sequence[Record]) -> str:
    known = [f["area_mm2"] for f in record if f["area_mm2"]]
    if not record:
        return "No field could be read."
    if len(known) < len(record):
        return "The files do not all say their pixel size: there is no density for those, and areas are in pixels."
    total = sum(known)
    return f"{total:.4g} mm² in all, {sum(f['cells'] for f in record) / total:.4g} nuclei per mm²."


def _failed(failed: Sequence[str]) -> str:
    if not failed:
        return ""
    items = "".join(f"<li>{escape(message)}</li>" for message in failed)
    return f'<div class="failed"><b>{len(failed)} left out</b><ul>{items}</ul></div>'


def _css(color: Color) -> str:
    return f"rgb({color[0]}, {color[1]}, {color[2]})"


def _legend(record: Sequence[Record], colors: dict[str, Color]) -> str:
    shown = dict(colors)
    if any(not f["phenotypes"] for f in record):
        shown["nuclei"] = NO_RULES
    if any(_without_class(f) for f in record):
        shown["no class"] = NO_CLASS
    keys = (f'<span class="key"><i style="background: {_css(c)}"></i>{escape(n)}</span>' for n, c in shown.items())
    return "".join(keys)


def _without_class(record: Record) -> int:
    return record["cells"] - sum(p["cells"] for p in record["phenotypes"].values()) if record["phenotypes"] else 0


def _bar(record: Record, colors: dict[str, Color], most: int) -> str:
    """Counts by phenotype as pieces of a bar; `most` cells are as wide as the bar."""
    parts = [(n, p["cells"], colors[n]) for n, p in record["phenotypes"].items()]
    parts += [("no class", _without_class(record), NO_CLASS)] if record["phenotypes"] else []
    pieces = (
        f'<i style="width: {100 * n / most:.2f}%; background: {_css(c)}" title="{escape(name)}: {n}"></i>'
        for name, n, c in parts or [("nuclei", record["cells"], NO_RULES)]
        if n
    )
    return f'<div class="bar">{"".join(pieces)}</div>'


def _table(record: Sequence[Record], colors: dict[str, Color]) -> str:
    heads = ["nuclei", "mm²", "per mm²", "uncertainty", *colors]
    head = "".join(f'<th class="n">{escape(h)}</th>' for h in heads)
    most = max([1, *(f["cells"] for f in record)])
    rows = []
    for f in record:
        numbers = [f["cells"], f["area_mm2"], f["per_mm2"], f["uncertainty"]]
        numbers += [_count(f["phenotypes"].get(name)) for name in colors]
        tds = "".join(f'<td class="n">{_number(n)}</td>' for n in numbers)
        rows.append(f"<tr><td>{escape(f['field'])}</td><td>{_bar(f, colors, most)}</td>{tds}</tr>")
    return f"<table><tr><th>field</th><th></th>{head}</tr>{''.join(rows)}</table>"


def _count(values: dict[str, Any] | None) -> str:
    if values is None:
        return "-"
    return f"{values['cells']}" + (f" ({values['per_mm2']:.4g}/mm²)" if values["per_mm2"] is not None else "")


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def _areas(record: Sequence[Record], unit: str) -> str:
    """The histogram of the nuclei's areas as a picture; nothing where no field has this unit."""
    counts = [f["areas"]["counts"] for f in record if f["areas"]["unit"] == unit]
    if not counts:
        return ""
    total, step = np.sum(counts, axis=0), AREA_STEPS[unit]
    figure = Figure(figsize=(7.5, 2.6), layout="constrained")
    ax = figure.subplots()
    ax.bar((np.arange(len(total)) + 0.5) * step, total, width=0.9 * step, color="#4c78a8")
    label = "µm²" if unit == "um2" else "pixels"
    ax.set(xlabel=f"area in {label} (last bar: all larger ones)", ylabel="nuclei", xlim=(0, len(total) * step))
    ax.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return f'<img class="plot" alt="histogram of nuclear areas in {label}" src="{_data("png", buffer.getvalue())}">'


def _data(image_format: str, raw: bytes) -> str:
    return f"data:image/{image_format};base64,{base64.b64encode(raw).decode('ascii')}"


def _figure(out: Path, record: Record) -> str:
    thumbnail = thumbnail_file(out, record["field"])
    name = escape(record["field"])
    picture = f'<img alt="{name}" src="{_data("jpeg", thumbnail.read_bytes())}">' if thumbnail.is_file() else ""
    return f"<figure>{picture}<figcaption>{name}: {record['cells']} nuclei</figcaption></figure>"


def _made(record: Sequence[Record]) -> str:
    """A table of the settings for all fields that share them, and how each field's cells got their phenotype."""
    groups = _grouped(record, lambda f: json.dumps({**f["settings"], **f["made"], "threshold": f["threshold"]}))
    tables = []
    for key, fields in groups.items():
        rows = ({"fields": fields} if len(groups) > 1 else {}) | json.loads(key)
        told = {k: _told(v) for k, v in rows.items() if v not in ("", [], {})}
        tds = (f'<tr><th>{escape(k)}</th><td class="wide">{escape(v)}</td></tr>' for k, v in told.items())
        tables.append(f"<table>{''.join(tds)}</table>")
    sentences = _grouped([f for f in record if f["phenotyping"]], lambda f: f["phenotyping"])
    items = "".join(f"<li>{escape(', '.join(fields))}: {escape(text)}</li>" for text, fields in sentences.items())
    return "<br>".join(tables) + (f"<p>Phenotypes:</p><ul>{items}</ul>" if items else "")


def _grouped(record: Sequence[Record], key: Callable[[Record], str]) -> dict[str, list[str]]:
    """The names of the fields that share a key, in order of appearance."""
    groups: dict[str, list[str]] = {}
    for f in record:
        groups.setdefault(key(f), []).append(f["field"])
    return groups


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_told(v)}" for k, v in value.items())
    return ", ".join(map(_told, value)) if isinstance(value, list) else str(value)
