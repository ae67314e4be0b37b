"""Folder layouts of cohorts: a manifest, Van Buren's folders, images with masks, inForm exports, corrections."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import UserError
from ..io.corrections import BEHIND, FOLDER, actions_on, checks, corrected_files, is_up_to_date
from ..io.fields.zarr_field import image_folders, is_image_folder
from ..io.files import existing_dir, existing_file, read_json_object
from ..io.text_tables import read_text_table
from .annotators import PREFIX, mask_columns

COLUMNS = ("field", "patient", "image", "mask", "labels", "split")
PATHS = ("image", "mask", "cells", "outlines")
_IMAGE_ENDINGS = (".tif", ".tiff", ".qptiff", ".png", ".jpg", ".jpeg")
_KNOWN = (
    "a cohort.csv, Van Buren's folders (CD27 Panel-- Component, ...), images/ with masks/ or labels.csv, "
    "inForm's *_component_data.tif, or results of predict with corrections"
)

Problems = list[tuple[str, str]]
Found = tuple[pd.DataFrame, Problems]


def find_fields(path: Path) -> tuple[pd.DataFrame, Path, str, Problems]:
    """Return the table of fields below `path`, the root folder, the layout's name, and (file, problem) pairs."""
    path = path.expanduser()
    if path.is_file() or path.suffix.lower() == ".csv":
        table, problems = _manifest(existing_file(path).resolve())
        return table, path.parent.resolve(), "manifest", problems
    root = existing_dir(path).resolve()
    for name, find in LAYOUTS.items():
        found = find(root)
        if found is not None:
            table, problems = found
            return table, root, name, problems
    names = ", ".join(sorted(p.name for p in root.iterdir())[:5])
    content = f"contains {names}" if names else "is empty"
    raise UserError(f"{root} is not a cohort: it has none of {_KNOWN}; it {content}.")


def path_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of a cohort's table that hold files."""
    return [*(c for c in PATHS if c in table), *mask_columns(table)]


def _table(rows: Iterable[dict[Any, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(list(rows), dtype=object)
    for column in COLUMNS:
        if column not in table:
            table[column] = ""
    return table.fillna("").astype(str)


def _visible(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(p for p in folder.rglob(pattern) if p.is_file() and not p.name.startswith((".", "Thumbs")))


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name, without those of its subfolders."""
    return [p for p in sorted(folder.iterdir()) if p.suffix.lower() in _IMAGE_ENDINGS and not p.name.startswith(".")]


def _stem(path: Path) -> str:
    return re.sub(r"\.ome$", "", path.stem, flags=re.IGNORECASE)


def _manifest(file: Path) -> Found:
    """Read a CSV with an `image` column; its paths are relative to its folder."""
    table = read_text_table(file, ",")
    if "image" not in table.columns:
        raise UserError(
            f"{file} has no column 'image', which a manifest needs; the known columns are {', '.join(COLUMNS)}."
        )
    table = _table(table.to_dict("records"))
    for column in path_columns(table):
        table[column] = [str((file.parent / p).resolve()) if p else "" for p in table[column]]
    table["field"] = [f or _stem(Path(i)) for f, i in zip(table.field, table.image, strict=True)]
    problems: Problems = []
    for column in sorted(path_columns(table)):
        absent = [bool(p) and not _is_there(Path(p), column) for p in table[column]]
        problems += [(p, _why_absent(p, file)) for p in table[column][absent]]
        table.loc[absent, column] = ""
    return table[table.image != ""], problems


def _is_there(path: Path, column: str) -> bool:
    """Whether there is a file, or an image that is a folder (OME-Zarr)."""
    return path.is_file() or (column == "image" and is_image_folder(path))


def _why_absent(path: str, manifest: Path) -> str:
    if Path(path).is_dir():
        return f"is a folder, but {manifest.name} must list files, or images as OME-Zarr"
    return f"is listed in {manifest.name} but does not exist"


def _manifest_below(root: Path) -> Found | None:
    return _manifest(root / "cohort.csv") if (root / "cohort.csv").is_file() else None


def _van_buren(root: Path) -> Found | None:
    """`CD27 Panel-- Component/<base>_data.tif` and folders of labels, masks, phenotypes; spaces or underscores."""
    folders = [root, *(p for p in sorted(root.rglob("*")) if p.is_dir())]
    by_name = {re.sub(r"[^a-z0-9]", "", f.name.lower()): f for f in reversed(folders)}
    components = next((f for n, f in by_name.items() if re.fullmatch(r"\w*panelcomponent", n)), None)
    if components is None:
        return None
    labels = next((f for n, f in by_name.items() if re.fullmatch(r"\w*celllabels", n)), None)
    sources = {"mask": by_name.get("masklabels"), "outlines": labels, "cells": by_name.get("phenotypelabels")}
    endings = {"mask": "_data.tifMask.tif", "outlines": "_datalabels", "cells": "_dataMeasured"}
    rows: list[dict[str, str]] = []
    used: set[str] = set()
    problems: Problems = []
    for image in images_in(components):
        base = image.stem.removesuffix("_data")
        row = {"field": base.removesuffix("_component"), "image": str(image)}
        for column, folder in sources.items():
            file = folder / f"{base}{endings[column]}" if folder else None
            row[column] = str(file) if file and file.is_file() else ""
            used.add(row[column])
        if not row["mask"]:
            problems.append((str(image), "has no mask in Mask Labels"))
        rows.append(row)
    unmatched = [f for f in images_in(sources["mask"]) if str(f) not in used] if sources["mask"] else []
    return _table(rows), problems + [(str(f), "is a mask without an image") for f in unmatched]


def _images_with_truth(root: Path) -> Found | None:
    """`images/` with `masks/` (same names, any extension) or `labels.csv` (image, labels, optional patient, split).

    `masks/NAME/` holds the masks of an annotator.
    """
    folder, masks, labels = root / "images", root / "masks", root / "labels.csv"
    if not folder.is_dir():
        return None
    images = [*images_in(folder), *image_folders(folder)]
    rows = {_stem(p): {"field": _stem(p), "image": str(p)} for p in images}
    duplicates = [{"field": _stem(p), "image": str(p)} for p in images if rows[_stem(p)]["image"] != str(p)]
    problems: Problems = []
    if masks.is_dir():
        for annotator in sorted(p for p in masks.iterdir() if p.is_dir() and not p.name.startswith(".")):
            problems += _add_masks(rows, annotator, PREFIX + annotator.name)
        problems += _add_masks(rows, masks, "mask")
        has_mask = {f for f, row in rows.items() if any(c == "mask" or c.startswith(PREFIX) for c in row)}
        problems += [(row["image"], "has no mask") for f, row in rows.items() if f not in has_mask]
    if labels.is_file():
        problems += _add_labels(rows, labels)
    return _table([*rows.values(), *duplicates]), problems


def _add_masks(rows: dict[str, dict[str, str]], folder: Path, column: str) -> Problems:
    problems: Problems = []
    for mask in images_in(folder):
        row = rows.get(_stem(mask)) or rows.get(re.sub(r"[_-]masks?$", "", _stem(mask), flags=re.IGNORECASE))
        if row is None:
            problems.append((str(mask), "is a mask without an image"))
        elif column in row:
            raise UserError(f"Two masks claim the field {row['field']!r}: {row[column]} and {mask}. Keep one of them.")
        else:
            row[column] = str(mask)
    return problems


def _add_labels(rows: dict[str, dict[str, str]], file: Path) -> Problems:
    table = read_text_table(file, ",")
    if not {"image", "labels"} <= set(table.columns):
        raise UserError(f"{file} needs the columns image and labels; it has {', '.join(table.columns)}.")
    problems: Problems = []
    listed = set()
    for line in table.to_dict("records"):
        name = line.pop("image")
        row = rows.get(_stem(Path(name))) or rows.get(name)
        if row is None:
            problems.append((name, f"is listed in {file.name} but is not in images/"))
            continue
        listed.add(row["field"])
        row.update({str(k): v for k, v in line.items() if k != "mask" and not str(k).startswith(PREFIX)})
    return problems + [(r["image"], f"is not listed in {file.name}") for f, r in rows.items() if f not in listed]


def _inform(root: Path) -> Found | None:
    """inForm exports at any depth: component TIFFs, or composites of fields without a component TIFF."""
    images = {_base(p, r"_component_data\.tiff?$"): p for p in _visible(root, "*_component_data.tif*")}
    pattern = r"_composite_image\.(tiff?|jpe?g|png)$"
    for p in _visible(root, "*_composite_image.*"):
        if _base(p, pattern) not in images and re.search(pattern, p.name, re.IGNORECASE):
            images[_base(p, pattern)] = p
    if not images:
        return None
    rows: list[dict[str, str]] = []
    problems: Problems = []
    for base, image in images.items():
        names = {"mask": f"{base}_binary_seg_maps.tif", "cells": f"{base}_cell_seg_data.txt"}
        row = {c: str(image.parent / n) if (image.parent / n).is_file() else "" for c, n in names.items()}
        rows.append({"field": Path(base).name, "image": str(image), **row})
        if not row["mask"]:
            problems.append((str(image), "has no binary_seg_maps.tif next to it"))
    unmatched = [p for p in _visible(root, "*_binary_seg_maps.tif") if str(p) not in {r["mask"] for r in rows}]
    return _table(rows), problems + [(str(p), "is a segmentation map without an image") for p in unmatched]


def _base(path: Path, ending: str) -> str:
    """Return the path without the export's suffix; it keeps the folder, so that equal names are detected."""
    return str(path.parent / re.sub(ending, "", path.name, flags=re.IGNORECASE))


def _corrections(root: Path) -> Found | None:
    """Results of `predict` with `corrections/`: the fields of which a part is checked."""
    corrected = corrected_files(root)
    if not corrected:
        return None
    rows, problems = [], []
    for name, labels in corrected.items():
        record = root / "fields" / f"{name}.json"
        image = read_json_object(record, "image")["image"] if record.is_file() else ""
        fault = _fault(labels, image)
        if fault:
            problems.append((str(labels), fault))
        else:
            rows.append({"field": name, "image": image, "mask": str(labels)})
    if not rows:
        raise UserError(f"{root / FOLDER} has no field to learn from: {problems[0][0]} {problems[0][1]}.")
    return _table(rows), problems


def _fault(labels: Path, image: str) -> str:
    """Why a corrected field is no truth; "" if it is."""
    actions = actions_on(labels)
    if not checks(actions):
        return "has corrections, but no part of it is marked as checked"
    if not is_up_to_date(labels, actions):
        return BEHIND
    if not image:
        return "has no record in fields/"
    return "" if _is_there(Path(image), "image") else f"belongs to the image {image}, which does not exist"


CORRECTIONS = "corrections"

LAYOUTS: dict[str, Callable[[Path], Found | None]] = {
    "manifest": _manifest_below,
    "van-buren": _van_buren,
    "images": _images_with_truth,
    CORRECTIONS: _corrections,  # before inForm's, whose names the pictures in fields/ may have
    "inform": _inform,
}
