"""`write_report`: the report.html of a folder of results, one file with its pictures, from records and thumbnails."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from ..io.files import write_text
from ..phenotypes.classify import OTHER
from .embedded import data_uri
from .histogram import histogram_svg
from .overlay import NO_CLASS, NO_RULES, Color, class_colors
from .record import AREA_STEPS, Record, thumbnail_file

REPORT = "report.html"


def write_report(
    out: Path,
    records: Sequence[Record],
    failed: Sequence[str] = (),
    look_at: Sequence[str] = (),
    regions: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write `out`/report.html, the page of `report_page`."""
    write_text(out / REPORT, report_page(out, records, failed, look_at=look_at, regions=regions))


def report_page(
    out: Path,
    records: Sequence[Record],
    failed: Sequence[str] = (),
    look_at: Sequence[str] = (),  # fields to look at next, the most useful first
    regions: Sequence[Mapping[str, Any]] = (),  # the same of their regions, as in regions.csv
) -> str:
    """Return the page of the results in `out`. All text is escaped; it loads nothing and holds no date or time."""
    template = Template((files(__package__) / "report.html").read_text(encoding="utf-8"))
    colors = class_colors(_unique(name for r in records for name in r["phenotypes"]))
    cells = sum(r["cells"] for r in records)
    return template.substitute(
        title=f"{len(records)} {'field' if len(records) == 1 else 'fields'}, {cells} nuclei",
        sentence=escape(_sentence(records)),
        failed=_failed(failed),
        look_at=_look_at(look_at, regions),
        legend=_legend(records, colors),
        table=_table(records, colors),
        areas="".join(_areas(records, unit) for unit in AREA_STEPS),
        gallery="".join(_figure(out, r) for r in records),
        made=_made(records),
    )


def _unique(names: Iterable[str]) -> list[str]:
    """Each name once, the remainder class last."""
    unique = list(dict.fromkeys(names))
    return [n for n in unique if n != OTHER] + [n for n in unique if n == OTHER]


def _sentence(records: Sequence[Record]) -> str:
    known = [r["area_mm2"] for r in records if r["area_mm2"]]
    if not records:
        return "No field could be read."
    if len(known) < len(records):
        return "The files do not all say their pixel size: there is no density for those, and areas are in pixels."
    total = sum(known)
    return f"{total:.4g} mm² in all, {sum(r['cells'] for r in records) / total:.4g} nuclei per mm²."


def _failed(failed: Sequence[str]) -> str:
    if not failed:
        return ""
    items = "".join(f"<li>{escape(message)}</li>" for message in failed)
    return f'<div class="failed"><b>{len(failed)} left out</b><ul>{items}</ul></div>'


def _look_at(fields: Sequence[str], regions: Sequence[Mapping[str, Any]]) -> str:
    if not fields and not regions:
        return ""
    why = "Uncertain parts whose nuclei may be wrongly separated, unlike each other: the most useful to correct."
    parts = "Regions, if a whole field is too much:" if fields else "Regions:"
    named = [f"{r['field']}, x {r['x0']} to {r['x1']}, y {r['y0']} to {r['y1']} ({r['cells']} nuclei)" for r in regions]
    more = f"<p>{parts}</p>{_numbered(named)}" if regions else ""
    return f"<h2>Look at next</h2><p>{why}</p>{_numbered(fields)}{more}"


def _numbered(items: Sequence[str]) -> str:
    return f"<ol>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ol>"


def _css(color: Color) -> str:
    return f"rgb({color[0]}, {color[1]}, {color[2]})"


def _legend(records: Sequence[Record], colors: dict[str, Color]) -> str:
    shown = dict(colors)
    if any(not r["phenotypes"] for r in records):
        shown["nuclei"] = NO_RULES
    if any(_without_class(r) for r in records):
        shown["no class"] = NO_CLASS
    keys = (f'<span class="key"><i style="background: {_css(c)}"></i>{escape(n)}</span>' for n, c in shown.items())
    return "".join(keys)


def _without_class(record: Record) -> int:
    return record["cells"] - sum(p["cells"] for p in record["phenotypes"].values()) if record["phenotypes"] else 0


def _bar(record: Record, colors: dict[str, Color], most: int) -> str:
    """Return the counts by phenotype as segments of a bar, which `most` cells fill."""
    parts = [(n, p["cells"], colors[n]) for n, p in record["phenotypes"].items()]
    parts += [("no class", _without_class(record), NO_CLASS)] if record["phenotypes"] else []
    segments = (
        f'<i style="width: {100 * n / most:.2f}%; background: {_css(c)}" title="{escape(name)}: {n}"></i>'
        for name, n, c in parts or [("nuclei", record["cells"], NO_RULES)]
        if n
    )
    return f'<div class="bar">{"".join(segments)}</div>'


def _table(records: Sequence[Record], colors: dict[str, Color]) -> str:
    heads = ["nuclei", "mm²", "per mm²", "uncertainty", *colors]
    head = "".join(f'<th class="n">{escape(h)}</th>' for h in heads)
    most = max([1, *(r["cells"] for r in records)])
    rows = []
    for record in records:
        numbers = [record[name] for name in ("cells", "area_mm2", "per_mm2", "uncertainty")]
        numbers += [_count(record["phenotypes"].get(name)) for name in colors]
        tds = "".join(f'<td class="n">{_number(n)}</td>' for n in numbers)
        rows.append(f"<tr><td>{escape(record['field'])}</td><td>{_bar(record, colors, most)}</td>{tds}</tr>")
    return f"<table><tr><th>field</th><th></th>{head}</tr>{''.join(rows)}</table>"


def _count(values: dict[str, Any] | None) -> str:
    if values is None:
        return "-"
    return f"{values['cells']}" + (f" ({values['per_mm2']:.4g}/mm²)" if values["per_mm2"] is not None else "")


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def _areas(records: Sequence[Record], unit: str) -> str:
    """Return the histogram of nuclear areas as a picture, or "" if no field has this unit."""
    counts = [r["areas"]["counts"] for r in records if r["areas"]["unit"] == unit]
    if not counts:
        return ""
    total, step = np.sum(counts, axis=0), AREA_STEPS[unit]
    label = "µm²" if unit == "um2" else "pixels"
    return histogram_svg(total, step, f"area in {label} (last bar: all larger ones)", "nuclei")


def _figure(out: Path, record: Record) -> str:
    thumbnail = thumbnail_file(out, record["field"])
    name = escape(record["field"])
    picture = f'<img alt="{name}" src="{data_uri("jpeg", thumbnail.read_bytes())}">' if thumbnail.is_file() else ""
    return f"<figure>{picture}<figcaption>{name}: {record['cells']} nuclei</figcaption></figure>"


def _made(records: Sequence[Record]) -> str:
    """Return a table of settings for each group of fields that share them, and how phenotypes were assigned."""
    groups = _grouped(records, lambda r: json.dumps({**r["settings"], **r["made"], **_found(r)}))
    tables = []
    for key, fields in groups.items():
        rows = ({"fields": fields} if len(groups) > 1 else {}) | json.loads(key)
        shown = {k: _setting(v) for k, v in rows.items() if v not in ("", [], {})}
        trs = (f'<tr><th>{escape(k)}</th><td class="wide">{escape(v)}</td></tr>' for k, v in shown.items())
        tables.append(f"<table>{''.join(trs)}</table>")
    sentences = _grouped([r for r in records if r["phenotyping"]], lambda r: r["phenotyping"])
    items = "".join(f"<li>{escape(', '.join(fields))}: {escape(text)}</li>" for text, fields in sentences.items())
    return "<br>".join(tables) + (f"<p>Phenotypes:</p><ul>{items}</ul>" if items else "")


def _found(record: Record) -> dict[str, Any]:
    """What the prediction was made with that the settings do not say."""
    scale = record.get("scale", {})
    chosen = {"scale": f"{scale['factor']:g} (by {scale['by']})"} if scale.get("by", "none") != "none" else {}
    return {"threshold": record["threshold"], **chosen}


def _grouped(records: Sequence[Record], key: Callable[[Record], str]) -> dict[str, list[str]]:
    """Return the names of the fields that share a key, in order of appearance."""
    groups: dict[str, list[str]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record["field"])
    return groups


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_setting(v)}" for k, v in value.items())
    return ", ".join(map(_setting, value)) if isinstance(value, list) else str(value)
