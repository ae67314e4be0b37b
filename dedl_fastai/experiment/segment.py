"""`predict_cells`: nuclei, cells and tables of new fields, in formats that other tools open."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.cell_classes import parse_thresholds
from ..data.phenotypes import Rules
from ..data.pixels import parse_channels
from ..errors import UserError
from ..inference.ensemble import Ensemble, FieldProbability
from ..inference.instances import instances
from ..inference.measure import field_summary, measure_cells
from ..io.field import Field, open_field
from ..io.files import written_whole
from .predictions import image_files

log = logging.getLogger(__name__)

ENDINGS = {
    "mask": "_mask.ome.tif",
    "labels": "_labels.ome.tif",
    "cells": "_cells.csv",
    "geojson": ".geojson",
    "probability": "_probability.ome.tif",
    "uncertainty": "_uncertainty.ome.tif",
    "rois": "_rois.zip",
    "h5ad": ".h5ad",
}


@dataclass(frozen=True)
class CellOptions:
    """What is written for each field, and how cells are measured."""

    write: str = "mask,labels,cells,geojson"
    rules: str = ""  # phenotype rules; "": cells get no class
    thresholds: str = ""  # marker=intensity, with commas between; "": Otsu's over the cells of a field
    ring_um: float = 2.0
    overwrite: bool = False
    channel: str = ""  # what the model's channels are called in these files, if not as in training

    def __post_init__(self):
        unknown = [w for w in self.kinds if w not in ENDINGS]
        if unknown or not self.kinds:
            raise UserError(f"--write {self.write!r}: it may hold {', '.join(ENDINGS)}, with commas between.")

    @property
    def channels(self) -> list[str]:
        """The channels' names in the files, or none."""
        return parse_channels(self.channel) if self.channel else []

    @property
    def kinds(self) -> list[str]:
        """What is written."""
        return [w.strip() for w in self.write.split(",") if w.strip()]


@dataclass(frozen=True)
class FieldCells:
    """All that is known of a predicted field."""

    field: Field
    probability: FieldProbability
    threshold: float
    labels: np.ndarray  # int32 (H, W)
    cells: pd.DataFrame


def predict_cells(
    runs: Sequence[str | Path],
    inputs: Iterable[str | Path],  # image files, or folders that `Cohort.load` knows
    out: str | Path,
    options: CellOptions | None = None,
    which: str = "best",
    device: str = "auto",
) -> list[str]:
    """Write the chosen files for every field and a summary.csv; returns what did not read.

    Fields whose files are all there are not predicted again unless `overwrite` is set.
    """
    options = options or CellOptions()
    ensemble = Ensemble.load(runs, which, device)
    rules = Rules.load(options.rules) if options.rules else None
    rows, failed = [], []
    for image in image_files(inputs):
        targets = {kind: Path(out) / (field_name(image) + ENDINGS[kind]) for kind in options.kinds}
        if not options.overwrite and all(t.exists() for t in targets.values()):
            log.info("%s: its files are there already", image)
            continue
        try:
            found = cells_of_file(ensemble, image, options, rules)
            for kind, target in targets.items():
                WRITERS[kind](target, found)
        except UserError as e:
            failed.append(str(e))
            continue
        rows.append(_summary(image, found))
        log.info("%s: %d cells", image, len(found.cells))
    if rows:
        _write_summary(Path(out) / "summary.csv", rows)
    return failed


def field_name(image: str | Path) -> str:
    """The file's name without what formats add to it."""
    name = Path(image).name
    for ending in (".ome.tif", ".ome.tiff", ".qptiff", *Path(image).suffixes[-1:]):
        name = name.removesuffix(ending)
    return name.removesuffix("_component_data")


def cells_of_file(
    ensemble: Ensemble, image: str | Path, options: CellOptions, rules: Rules | None = None
) -> FieldCells:
    """Probability, nuclei and measured cells of one image file."""
    with open_field(image) as field:
        probability = ensemble.predict(ensemble.members[0].read(image, options.channels))
        labels = instances(probability.mean, ensemble.threshold, field.pixel_size_um)
        cells = measure_cells(
            labels,
            field,
            field.pixel_size_um,
            field.origin_um,
            ring_um=options.ring_um,
            probability=probability.mean,
            uncertainty=probability.entropy,
            rules=rules,
            thresholds=parse_thresholds(options.thresholds) or None,
        )
    return FieldCells(field, probability, ensemble.threshold, labels, cells)


def _summary(image: str, found: FieldCells) -> dict[str, Any]:
    size = found.field.pixel_size_um
    area = found.labels.size * (size or 0) ** 2 / 1e6
    row = {
        "image": image,
        "uncertainty": round(found.probability.uncertainty, 6),
        "area_mm2": round(area, 6) if size else None,
    }
    for line in field_summary(found.cells, area if size else None).itertuples():
        row |= {f"cells {line.phenotype}": line.cells, f"per_mm2 {line.phenotype}": round(line.per_mm2, 3)}
    return row


def _write_summary(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows of this call, and of fields that an earlier one wrote."""
    table = pd.DataFrame(rows)
    if path.exists():
        before = pd.read_csv(path)
        table = pd.concat([before[~before.image.isin(table.image)], table])
    with written_whole(path) as tmp:
        table.to_csv(tmp, index=False)


def _write_plane(pick: Callable[[FieldCells], np.ndarray], name: str) -> Callable[[Path, FieldCells], None]:
    def write(path: Path, found: FieldCells) -> None:
        from ..io.ome import write_ome_tiff

        write_ome_tiff(path, pick(found), [name], found.field.pixel_size_um)

    return write


def _write_cells(path: Path, found: FieldCells) -> None:
    with written_whole(path) as tmp:
        found.cells.to_csv(tmp, index=False)


def _write_geojson(path: Path, found: FieldCells) -> None:
    from ..io.geojson import cell_polygons, write_geojson

    by_label = found.cells.set_index("label")
    classes = by_label["phenotype"].dropna().to_dict() if "phenotype" in by_label else None
    numbers = by_label.select_dtypes("number").to_dict("index")
    write_geojson(path, cell_polygons(found.labels), classes=classes, measurements=numbers)


def _write_rois(path: Path, found: FieldCells) -> None:
    from ..io.geojson import cell_polygons
    from ..io.roi import write_imagej_rois

    write_imagej_rois(path, cell_polygons(found.labels))


def _write_h5ad(path: Path, found: FieldCells) -> None:
    from ..io.anndata import write_h5ad

    size = found.field.pixel_size_um
    write_h5ad(path, found.cells, found.field.channels, column="Nucleus {channel} mean", pixel_size_um=size)


WRITERS: dict[str, Callable[[Path, FieldCells], None]] = {
    "mask": _write_plane(lambda f: (f.labels > 0).astype(np.uint8) * 255, "nuclei"),
    "labels": _write_plane(lambda f: f.labels.astype(np.uint32), "nucleus id"),
    "probability": _write_plane(lambda f: f.probability.mean.astype(np.float32), "probability"),
    "uncertainty": _write_plane(lambda f: f.probability.entropy, "entropy in bits"),
    "cells": _write_cells,
    "geojson": _write_geojson,
    "rois": _write_rois,
    "h5ad": _write_h5ad,
}
