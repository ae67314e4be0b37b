"""README.md of a run, its model card for people: data, split, training, scores beside baselines, limits, licence."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..io.files import write_text
from ..training.run_folder import RunFolder

README = "README.md"
_TITLES = {
    "segmentation": "Segmentation of nuclei",
    "classification": "Which cell types a field contains",
    "cells": "Types of single cells",
}
_SCORES = {
    "segmentation": {"iou": "IoU", "dice": "Dice", "boundary_f1": "boundary F1"},
    "classification": {"f1_macro": "macro F1", "f1_micro": "micro F1", "map": "mAP", "auroc": "AUROC"},
    "cells": {"f1_macro": "macro F1", "accuracy": "accuracy"},
}
_NUCLEI = {"f1_50": "F1 of nuclei at IoU 0.5", "f1_mean": "mean F1 of nuclei"}
_LIMITS = {
    "segmentation": "Nuclei much smaller or larger than those of the training, other stainings, nuclei out of focus "
    "and stacks are not what it was trained on.",
    "classification": "Its labels come from cell tables, markers and cut-offs, whose errors it learned too. Other "
    "panels, stainings and microscopes are not what it was trained on.",
    "cells": "Its types come from cell tables, whose errors it learned too. Other panels, exposures and segmentations "
    "are not what it was trained on.",
}


def write_readme(run: RunFolder) -> None:
    """Write README.md from the files of a run whose metrics.json is written. It holds no path of this machine."""
    write_text(run.path / README, readme_text(run))


def model_card(run: RunFolder) -> str:
    """The README.md of a run as it is, perhaps with what its owner added; what it would be for a run without one."""
    path = run.path / README
    return path.read_text(encoding="utf-8") if path.is_file() else readme_text(run)


def readme_text(run: RunFolder) -> str:
    """Return the model card of a run in Markdown."""
    task, metrics = run.read("model")["task"], run.read("metrics")
    licence = "not chosen yet. Whoever owns the data and the model names one here before it is passed on."
    lines = [f"# {_TITLES[task]}", "", f"A run of `dedl-fastai {_command(task)}`.", ""]
    lines += [f"- **{name}**: {text}" for name, text in {**run_facts(run), "Licence": licence}.items() if text]
    lines += ["", "## Measured", "", *score_lines(run), "", "## Limits", "", *_limits(run, metrics, task)]
    return "\n".join(lines) + "\n"


def run_facts(run: RunFolder) -> dict[str, str]:
    """Return a sentence each on Model, Data, Split, Training and Software of a run; "" where nothing is known."""
    card, options = run.read("model"), run.read("config")
    return {
        "Model": _model(card, options),
        "Data": _data(run, card, options),
        "Split": _split(run),
        "Training": _training(run, options),
        "Software": _software(run),
    }


def _command(task: str) -> str:
    return {"segmentation": "seg", "classification": "clf", "cells": "clf --items cells"}[task]


def _model(card: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    if "network" not in card:
        return f"{card['kind']} on measurements of cells; classes {', '.join(card['classes'])}."
    classes = f"classes {', '.join(card['classes'])}"
    if "cells" in card:
        seg = Path(card["cells"]["seg"]).name
        return f"small networks on the measurements of the cells that `{seg}` finds, from random weights; {classes}."
    net = card["network"]
    name = f"{net['arch']} on {net['encoder']}, depth {net['depth']}" if "arch" in net else net["model"]
    head = f", with the {net['head']} beside the mask" if net.get("head", "mask") != "mask" else ""
    weights = Path(options["weights"]).name
    return f"{name}{head}, from the weights `{weights}`; {classes}."


def _data(run: RunFolder, card: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    fields = run.read("splits")["fields"]
    patients = {row["patient"] for row in fields.values()}
    channels = card.get("channels") or card.get("data", {}).get("channels") or ()
    size = f", {card['pixel_size_um']:.3g} um per pixel" if card.get("pixel_size_um") else ""
    names = [Path(data).name.replace("`", "'") for data in _folders(options)]
    seen = f"; channels {', '.join(channels)}" if channels else ""
    shown = " and ".join(f"`{name}`" for name in names if name) or "a synthetic cohort"
    return f"{shown}, {len(fields)} fields of {len(patients)} patients{seen}{size}."


def _folders(options: Mapping[str, Any]) -> list[str]:
    return [options["data"], *options.get("more_data", []), *options.get("train_only", [])]


def _split(run: RunFolder) -> str:
    rows = run.read("splits")["fields"].values()
    parts = []
    for split in ("train", "valid", "test"):
        patients = [row["patient"] for row in rows if row["split"] == split]
        if patients:
            parts.append(f"{split} {len(patients)} fields of {len(set(patients))} patients")
    return f"{', '.join(parts)} (`splits.json`)."


def _training(run: RunFolder, options: Mapping[str, Any]) -> str:
    card = run.read("model")
    if "network" not in card or "cells" in card:
        return f"seed {options['seed']}; every option is in `config.json`."
    done = len(run.history()) if (run.path / "history.csv").is_file() else f"up to {options['epochs']}"
    given = f"preset `{options['preset']}`, batches of {options['bs']}, learning rate {options['lr']:g}"
    return f"{done} epochs, {given}, seed {options['seed']}; every option is in `config.json`."


def _software(run: RunFolder) -> str:
    if not (run.path / "manifest.json").is_file():
        return ""
    made = run.read("manifest")
    packages = ", ".join(
        f"{name} {made['packages'][name]}" for name in ("torch", "fastai") if made["packages"].get(name)
    )
    return f"dedl_fastai {made['dedl_fastai']}, {packages}, on {made['gpu'] or made['cpu'] or made['device']}."


def score_lines(run: RunFolder) -> list[str]:
    """Return tables of the scores of each split and of the baselines, with intervals over patients."""
    metrics, lines = run.read("metrics"), []
    names = _SCORES[run.read("model")["task"]]
    for split in ("test", "valid"):
        if split not in metrics:
            continue
        rows = {"this model": metrics[split]}
        rows |= {name: row[split] for name, row in metrics.get("baselines", {}).items() if split in row}
        tuned = ": thresholds were tuned on it" if metrics[split].get("tuned_here") or split == "valid" else ""
        lines += [f"{split.capitalize()}{tuned}", "", *_table(["", *names.values()], _rows(rows, names)), ""]
        nuclei = metrics.get("objects", {}).get(split, {})
        if nuclei.get("n_fields"):
            rows = {"this model": nuclei, **nuclei.get("baselines", {})}
            lines += [*_table(["", *_NUCLEI.values()], _rows(rows, _NUCLEI)), ""]
    notes = ["In brackets: 95 % intervals, by drawing patients anew. All scores are in `metrics.json`."]
    if "objects" in metrics:
        notes.append("The ceiling is what the separation of touching nuclei reaches from the true mask.")
    return [*lines, *notes]


def _rows(scores: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> Iterator[list[str]]:
    for who, row in scores.items():
        intervals = row.get("intervals") or {}
        yield [who, *(_score(row.get(name), intervals.get(name)) for name in names)]


def _score(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _limits(run: RunFolder, metrics: Mapping[str, Any], task: str) -> list[str]:
    tested = {row["patient"] for row in run.read("splits")["fields"].values() if row["split"] == "test"}
    scope = f"It was tested on {len(tested)} patients" if "test" in metrics else "It was not tested on other patients"
    return [
        f"- {scope}; scores on fields of other studies can be lower: measure them with `dedl-fastai evaluate`.",
        f"- {_LIMITS[task]}",
        *[f"- {text}" for text in metrics.get("labels", {}).get("warnings", [])],
        "- For research; not for diagnosis.",
    ]
