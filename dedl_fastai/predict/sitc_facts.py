"""What the records of a study know about each topic of `sitc`, as lines of Markdown; no line where nothing is known."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from .. import __version__
from ..cells.options import PERMUTATIONS
from ..io.corrections import CHECK, UNCHECK, actions_in_force, actions_on, corrected_files
from ..io.fields.field import Field
from ..phenotypes.gates.gates import ALL, FILE, Gates
from ..runs.readme import run_facts, score_lines
from .report import REPORT
from .study import Study
from .suggest import checked_fields

_OF_CELLS = ("channel", "part_by", "min_area_um2", "scale", "scale_per", "tta", "overlap", "pixel_size_um", "ring_um")


def channels(study: Study) -> list[str]:
    """The channels of the images, by their names in the files."""
    return [f"- Channels of {_fields(n)}: {names}." for names, n in _counted(study, lambda f: ", ".join(f.channels))]


def images(study: Study) -> list[str]:
    """Format, size and pixel size of the images."""
    return [f"- {_fields(n)}: {text}." for text, n in _counted(study, _image)]


def _image(field: Field) -> str:
    size = f"{field.pixel_size_um:.4g} um per pixel" if field.pixel_size_um else "pixel size not in the file"
    return f"{field.format}, {field.shape[0]} x {field.shape[1]} pixels, {size}"


def _counted(study: Study, text_of: Any) -> list[tuple[str, int]]:
    """The different texts on the images that can still be opened, with the number of images."""
    with ExitStack() as stack:
        return list(Counter(text_of(stack.enter_context(field)) for field in study.images()).items())


def selection(study: Study) -> list[str]:
    """How many fields were analysed, with which area."""
    if not study.records:
        return []
    areas = [r["area_mm2"] for r in study.records if r["area_mm2"]]
    area = f", {sum(areas):.4g} mm2 in all" if len(areas) == len(study.records) else ""
    return [f"- {_fields(len(study.records))}{area}, {sum(r['cells'] for r in study.records)} nuclei."]


def batches(study: Study) -> list[str]:
    """How intensities are scaled for the networks, and shifted for the cut-offs."""
    cards = [run.read("model") for run in study.runs.values()]
    scalings = dict.fromkeys(json.dumps(c["scaling"]) for c in cards if "scaling" in c)
    lines = [
        f"- For the network, each field and channel is scaled by its percentiles {s['low']:g} and {s['high']:g}."
        for s in map(json.loads, scalings)
    ]
    gates = _gates(study)
    if gates:
        shift = "are not changed" if gates.shift == "none" else f"are divided by the {gates.shift} of the slide"
        lines.append(f"- For the cut-offs, intensities {shift}; cut-offs are per {gates.per}.")
    return lines


def segmentation(study: Study) -> list[str]:
    """The models, how they were trained, and the settings with which nuclei were found."""
    lines = [line for name in _segmentations(study) for line in _model(study, name)]
    lines += [f"- Model `{name}`: give its folder to the command for its facts." for name in study.unknown_runs]
    for settings in study.settings:
        shown = (f"{name} {settings[name]}" for name in _OF_CELLS if settings.get(name) not in ("", None, 0, 0.0))
        lines.append(f"- Settings: {', '.join(shown)}.")
    thresholds = sorted({r["threshold"] for r in study.records})
    return [
        *lines,
        *([f"- Threshold of the probability: {', '.join(f'{t:g}' for t in thresholds)}."] if thresholds else []),
    ]


def _model(study: Study, name: str) -> Iterator[str]:
    known = run_facts(study.runs[name])
    yield f"- Model `{name}`: {known['Model']}"
    yield f"- Its data: {known['Data']}"
    yield f"- Its training: {known['Training']}"


def _segmentations(study: Study) -> list[str]:
    return [name for name, run in study.runs.items() if run.read("model")["task"] == "segmentation"]


def phenotyping(study: Study) -> list[str]:
    """Rules, cut-offs and classifiers of types."""
    lines = []
    for settings in study.settings:
        lines += [f"- Rule: `{rule}`." for rule in settings["rules"] if not rule.endswith("= ")]  # other cells
        lines += [f"- Types by the classifier `{settings['cell_types']}`."] if settings["cell_types"] else []
    lines += [line for name in study.runs if name not in _segmentations(study) for line in _model(study, name)]
    gates = _gates(study)
    for group, of_group in gates.groups.items() if gates else ():
        where = "" if group == ALL else f" in {group}"
        lines += [f"- Cut-off of {marker}{where}: {gate.statement}" for marker, gate in of_group.items()]
    return lines


def _gates(study: Study) -> Gates | None:
    path = study.results / FILE if study.results else None
    return Gates.load(path) if path and path.is_file() else None


def verification(study: Study) -> list[str]:
    """Splits and scores of the models with baselines and intervals, and corrections by hand."""
    lines: list[str] = []
    for name, run in study.runs.items():
        lines += [
            f"Model `{name}`, on the fields of its own cohort: {run_facts(run)['Split']}",
            "",
            *score_lines(run),
            "",
        ]
    return lines[:-1] + ([""] if lines else []) + _corrections(study) if study.results else lines[:-1]


def _corrections(study: Study) -> list[str]:
    assert study.results
    made = [
        a.action for labels in corrected_files(study.results).values() for a in actions_in_force(actions_on(labels))
    ]
    counts = Counter(a for a in made if a not in (CHECK, UNCHECK))
    done = ", ".join(f"{n} {action}" for action, n in sorted(counts.items())) or "none"
    checked = len(checked_fields(study.results))
    return [f"- Corrections by hand: {done}. {_fields(checked)} of {len(study.records)} checked, in whole or in part."]


def spatial(study: Study) -> list[str]:
    """Which neighbours were counted, and how they were compared with chance."""
    radii = [s["radius_um"] for s in study.settings if "radius_um" in s]
    return [
        f"- Pairs of types whose cells are neighbours (centres within {radius:g} um), compared with {PERMUTATIONS} "
        "random permutations of the types within each field, and each tissue class where tables have them."
        for radius in radii
    ]


def files(study: Study) -> list[str]:
    """The files that were written."""
    return [f"- For each field: {', '.join(study.kinds)}; for all: summary.csv, {REPORT}."] if study.kinds else []


def software(study: Study) -> list[str]:
    """Programs and versions."""
    made = {json.dumps(r["made"]): r["made"] for r in study.records}.values()
    lines = [
        f"- Results: dedl-fastai {m['dedl_fastai']}, engine {m['engine']}, mixed precision {m['amp']}." for m in made
    ]
    for name, run in study.runs.items():
        known = run_facts(run)["Software"]
        lines += [f"- Training of `{name}`: {known}"] if known else []
    return [*lines, f"- This report: dedl-fastai {__version__}, Apache-2.0."]


def pictures(study: Study) -> list[str]:
    """Where pictures of all fields are."""
    return [f"- {REPORT} has a picture of every field with the outlines of its nuclei."] if study.records else []


def _fields(n: int) -> str:
    return f"{n} {'field' if n == 1 else 'fields'}"
