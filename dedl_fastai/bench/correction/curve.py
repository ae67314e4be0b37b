"""`correction_curve`: F1 of nuclei in test fields against the nuclei that a simulated annotator has corrected."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ...data.cohort import Cohort
from ...data.splits import split_cohort
from ...errors import UserError
from ...io.corrections import FOLDER, LABELS
from ...io.files import read_json, write_json, written_whole
from ...io.masks import IGNORED, holds_ids, read_labels
from ...models.names import NUCLEI
from ...predict.cells import predict_cells
from ...predict.options import CellOptions
from ...predict.record import Record, read_records
from ...predict.suggest import suggested, suggested_regions
from ...runs.continued import with_run_options
from ...runs.options.seg import FINETUNE, SegConfig
from ...runs.segmentation.training import train_seg
from .annotator import Box, annotate

log = logging.getLogger(__name__)

ORDERS = ("suggested", "random")  # as `predict --suggest` ranks fields and regions, and by chance
FIELDS, REGIONS = "fields", "regions"


@dataclass(frozen=True)
class Annotation:
    """What the annotator corrects, and how the model learns from it."""

    run: str = NUCLEI  # predicts the fields first, and is continued
    numbers: tuple[int, ...] = (1, 2, 4)  # of corrected fields or regions
    unit: str = FIELDS  # or REGIONS
    channel: str = ""  # names of the model's channels in these files; default: as in training
    seed: int = 0  # of the random order, the split and the training
    training: Mapping[str, Any] | None = None  # options of `seg`, such as epochs and tile


class Part(NamedTuple):
    """What the annotator corrects at a time: a field, or a region of it."""

    field: str  # its name in the cohort
    box: Box | None = None


def correction_curve(cohort: Cohort, out: str | Path, annotation: Annotation | None = None) -> pd.DataFrame:
    """Return a row for each order and number of corrected parts, and one for the model before; also `out`/curve.csv.

    The annotator replaces the prediction of training fields, or of regions of them, by their truth, and counts the
    nuclei that were missed and those that were false. The model is continued (preset=finetune) with the first `n` parts
    of each order. Threshold and separation are tuned on the validation fields, those of the model before too, whose
    truth is not counted. `f1` is that at an IoU of 0.5 over all test fields, `f1_valid` over the validation fields.
    Finished trainings are not repeated, nor is one on the same parts in another order. Raises `UserError` for masks
    without ids, training masks with unknown pixels, too few training fields or regions, and a folder with the curve of
    other options.
    """
    annotation, out = annotation or Annotation(), Path(out)
    cohort = split_cohort(cohort, seed=annotation.seed)
    pool = cohort.part("train")
    _check(cohort, pool, annotation)
    _check_same(out, cohort, annotation)
    options = CellOptions(channel=annotation.channel, write="labels,cells")
    if failed := predict_cells([annotation.run], list(pool.table.image), out / "results", options):
        raise UserError(f"a field cannot be predicted: {failed[0]}")
    records = _records(pool, out / "results")
    rows: list[dict[str, Any]] = []
    trained: dict[frozenset[Part], tuple[int, dict[str, Any]]] = {}  # corrected nuclei, and metrics
    before = None
    for order, parts in _orders(pool, records, annotation).items():
        for n in annotation.numbers:
            name, chosen = f"{order}-{n}", frozenset(parts[:n])
            if chosen not in trained:
                masks, corrected = _corrected(pool, parts[:n], records, out=out, name=name)
                metrics = _continued(cohort, masks, out / name, annotation=annotation, before=before)
                trained[chosen] = corrected, metrics
            corrected, metrics = trained[chosen]
            about = {"unit": annotation.unit, "n": n, "corrected": corrected}
            if before is None:
                before = metrics["before"]
                rows.append({"order": "", **about, "n": 0, "corrected": 0, **_scores(before)})
            rows.append({"order": order, **about, **_scores(metrics)})
            _write(rows, out)
    return pd.DataFrame(rows)


def _check(cohort: Cohort, pool: Cohort, annotation: Annotation) -> None:
    if annotation.unit == FIELDS:
        _check_numbers(annotation, len(pool))
    masks = [row.mask for row in cohort.part("all").rows()]
    if plain := [m for m in masks if not m or holds_ids(m, read_labels(m)) is False]:
        raise UserError(
            f"{plain[0] or 'a field without a mask'} does not tell nuclei apart: an annotator needs masks with ids."
        )
    if partly := [row.mask for row in pool.rows() if (read_labels(row.mask) == IGNORED).any()]:
        raise UserError(
            f"{partly[0]} has pixels ({IGNORED}) whose truth is unknown: an annotator needs masks of whole training "
            f"fields; leave this field out."
        )


def _check_numbers(annotation: Annotation, n: int) -> None:
    numbers, unit = annotation.numbers, annotation.unit
    if not numbers or min(numbers) < 1 or max(numbers) > n:
        raise UserError(
            f"{unit}={','.join(map(str, numbers))}: the cohort has {n} training {unit} to correct; give numbers from 1 "
            f"to {n}."
        )


def _check_same(out: Path, cohort: Cohort, annotation: Annotation) -> None:
    """Raise a `UserError` if the folder holds the curve of another cohort or of other options; else write these."""
    splits = dict(zip(cohort.table.field, cohort.table.split, strict=True))
    own = {name: getattr(annotation, name) for name in ("run", "unit", "channel", "seed")} | {"splits": splits}
    own["training"] = dict(annotation.training or {})
    file = out / "curve.json"
    if file.is_file() and read_json(file) != own:
        raise UserError(f"{out} holds a curve of other fields or options: choose another `out`.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(file, own)


def _records(pool: Cohort, results: Path) -> dict[str, Record]:
    """The record of each training field that was predicted, by the field's name in the cohort."""
    field_of = {str(Path(row.image)): row.field for row in pool.rows()}
    return {field_of[str(Path(r["image"]))]: r for r in read_records(results)}


def _orders(pool: Cohort, records: Mapping[str, Record], annotation: Annotation) -> dict[str, list[Part]]:
    """The parts of the training fields in each order."""
    field_of = {r["field"]: field for field, r in records.items()}
    if annotation.unit == FIELDS:
        parts = [Part(field) for field in pool.table.field]
        ranked = [Part(field_of[name]) for name in suggested(list(records.values()), len(records))]
        ranked += [p for p in parts if p not in ranked]  # without a nucleus, none is suggested
    else:
        regions = suggested_regions(list(records.values()), max(annotation.numbers))
        ranked = [_region(field_of[r["field"]], r) for r in regions]
        parts = [_region(field, r) for field, record in records.items() for r in record["regions"]]
        _check_numbers(annotation, len(parts))
    drawn = np.random.default_rng(annotation.seed).permutation(len(parts))
    return dict(zip(ORDERS, (ranked, [parts[i] for i in drawn]), strict=True))


def _region(field: str, region: Mapping[str, Any]) -> Part:
    return Part(field, (region["y0"], region["x0"], region["y1"], region["x1"]))


def _corrected(
    pool: Cohort, parts: Sequence[Part], records: Mapping[str, Record], out: Path, name: str
) -> tuple[pd.Series, int]:
    """Correct the parts; return the corrected labels of each field that has some, and the number of nuclei."""
    to, masks, n = out / "corrected" / name, {}, 0
    for row in pool.rows():
        own = [part.box for part in parts if part.field == row.field]
        if own:
            predicted = records[row.field]["field"]
            n += annotate(out / "results", predicted, row.mask, [box for box in own if box], to=to)
            masks[row.field] = str(to / FOLDER / f"{predicted}{LABELS}")
    return pd.Series(masks), n


def _continued(
    cohort: Cohort, corrections: pd.Series, out: Path, annotation: Annotation, before: dict[str, Any] | None
) -> dict[str, Any]:
    """Continue the model with the corrections alone, given as field -> mask, and return metrics.json.

    `before` are the scores of the model that is continued, from the first call.
    """
    given = {"weights": annotation.run, "preset": FINETUNE, "data": str(cohort.root), "seed": annotation.seed}
    given |= {"channel": annotation.channel} if annotation.channel else {}
    options = SegConfig.resolve(with_run_options(given | dict(annotation.training or {})))
    table = cohort.table
    masks = table.field.map(corrections)
    table = table.assign(mask=masks.where(masks.notna(), table["mask"]))
    is_used = table.split.isin(["valid", "test"]) | masks.notna()
    log.info("%s: corrections of %d fields", out.name, masks.notna().sum())
    return train_seg(options, out, cohort=replace(cohort, table=table[is_used].reset_index(drop=True)), before=before)


def _scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    valid, test = (metrics["objects"][split] for split in ("valid", "test"))
    iou = metrics["test"]["iou"]
    return {"f1": test["f1_50"], "f1_mean": test["f1_mean"], "iou": iou, "f1_valid": valid["f1_50"]}


def _write(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    with written_whole(out / "curve.csv") as tmp:
        pd.DataFrame(rows).to_csv(tmp, index=False)
