"""`correction_curve`: F1 of nuclei in test fields against the nuclei that a simulated annotator has corrected."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...data.cohort import Cohort
from ...data.splits import split_cohort
from ...errors import UserError
from ...io.corrections import FOLDER, LABELS
from ...io.files import read_json, write_json, written_whole
from ...io.masks import holds_ids, read_labels
from ...models.names import NUCLEI
from ...predict.cells import predict_cells
from ...predict.options import CellOptions
from ...predict.record import read_records
from ...predict.suggest import suggested
from ...runs.continued import with_run_options
from ...runs.options.seg import FINETUNE, SegConfig
from ...runs.segmentation.training import train_seg
from .annotator import annotate

log = logging.getLogger(__name__)

ORDERS = ("suggested", "random")  # as `predict --suggest` ranks the fields, and by chance


@dataclass(frozen=True)
class Annotation:
    """What the annotator corrects, and how the model learns from it."""

    run: str = NUCLEI  # predicts the fields first, and is continued
    fields: tuple[int, ...] = (1, 2, 4)  # numbers of corrected fields
    channel: str = ""  # names of the model's channels in these files; default: as in training
    seed: int = 0  # of the random order, the split and the training
    training: Mapping[str, Any] | None = None  # options of `seg`, such as epochs and tile


def correction_curve(cohort: Cohort, out: str | Path, annotation: Annotation | None = None) -> pd.DataFrame:
    """Return a row for each order and number of corrected fields, and one for the model before; also `out`/curve.csv.

    The annotator replaces the prediction of training fields by their truth, and counts the nuclei that were missed and
    those that were false. The model is continued (preset=finetune) with the first k fields of each order. Threshold
    and separation are tuned on the validation fields, those of the model before too, whose truth is not counted. `f1`
    is that at an IoU of 0.5 over all test fields, `f1_valid` over the validation fields. Finished trainings are not
    repeated, nor is one on the same fields in another order. Raises `UserError` for masks without ids, too few training
    fields, and a folder with the curve of other options.
    """
    annotation, out = annotation or Annotation(), Path(out)
    cohort = split_cohort(cohort, seed=annotation.seed)
    pool = cohort.part("train")
    _check(cohort, pool, annotation)
    _check_same(out, cohort, annotation)
    options = CellOptions(channel=annotation.channel, write="labels,cells")
    if failed := predict_cells([annotation.run], list(pool.table.image), out / "results", options):
        raise UserError(f"a field cannot be predicted: {failed[0]}")
    corrected = _corrected(pool, out / "results")
    rows: list[dict[str, Any]] = []
    trained: dict[frozenset[str], dict[str, Any]] = {}
    before = None
    for order, names in _orders(pool, out / "results", annotation.seed).items():
        for k in annotation.fields:
            chosen = corrected.loc[names[:k]]
            fields = frozenset(names[:k])
            if fields not in trained:
                folder = out / f"{order}-{k}"
                trained[fields] = _continued(cohort, chosen["mask"], folder, annotation=annotation, before=before)
            metrics = trained[fields]
            if before is None:
                before = metrics["before"]
                rows.append({"order": "", "fields": 0, "corrected": 0, **_scores(before)})
            rows.append({"order": order, "fields": k, "corrected": int(chosen["n"].sum()), **_scores(metrics)})
            _write(rows, out)
    return pd.DataFrame(rows)


def _check(cohort: Cohort, pool: Cohort, annotation: Annotation) -> None:
    if not annotation.fields or min(annotation.fields) < 1 or max(annotation.fields) > len(pool):
        raise UserError(
            f"fields={','.join(map(str, annotation.fields))}: the cohort has {len(pool)} training fields to correct; "
            f"give numbers from 1 to {len(pool)}."
        )
    masks = [row.mask for row in cohort.part("all").rows()]
    if plain := [m for m in masks if not m or holds_ids(m, read_labels(m)) is False]:
        raise UserError(
            f"{plain[0] or 'a field without a mask'} does not tell nuclei apart: an annotator needs masks with ids."
        )


def _check_same(out: Path, cohort: Cohort, annotation: Annotation) -> None:
    """Raise a `UserError` if the folder holds the curve of another cohort or of other options; else write these."""
    splits = dict(zip(cohort.table.field, cohort.table.split, strict=True))
    own = {"run": annotation.run, "channel": annotation.channel, "seed": annotation.seed, "splits": splits}
    own["training"] = dict(annotation.training or {})
    file = out / "curve.json"
    if file.is_file() and read_json(file) != own:
        raise UserError(f"{out} holds a curve of other fields or options: choose another `out`.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(file, own)


def _corrected(pool: Cohort, results: Path) -> pd.DataFrame:
    """Correct all fields; return the number of corrected nuclei `n` and the corrected labels `mask` of each."""
    name_of = {str(Path(r["image"])): r["field"] for r in read_records(results)}
    rows = {}
    for row in pool.rows():
        name = name_of[str(Path(row.image))]
        mask = results / FOLDER / f"{name}{LABELS}"
        rows[row.field] = {"n": annotate(results, name, row.mask), "mask": str(mask), "name": name}
    return pd.DataFrame.from_dict(rows, orient="index")


def _orders(pool: Cohort, results: Path, seed: int) -> dict[str, list[str]]:
    """The training fields in each order."""
    records = read_records(results)
    field_of = {str(Path(row.image)): row.field for row in pool.rows()}
    image_of = {r["field"]: str(Path(r["image"])) for r in records}
    ranked = [field_of[image_of[name]] for name in suggested(records, len(records))]
    fields = list(pool.table.field)
    ranked += [f for f in fields if f not in ranked]  # without a nucleus, none is suggested
    drawn = np.random.default_rng(seed).permutation(len(fields))
    return dict(zip(ORDERS, (ranked, [fields[i] for i in drawn]), strict=True))


def _continued(
    cohort: Cohort, corrections: pd.Series, out: Path, annotation: Annotation, before: dict[str, Any] | None
) -> dict[str, Any]:
    """Continue the model with the corrected fields alone, given as field -> mask, and return metrics.json.

    `before` are the scores of the model that is continued, from the first call.
    """
    given = {"weights": annotation.run, "preset": FINETUNE, "data": str(cohort.root), "seed": annotation.seed}
    given |= {"channel": annotation.channel} if annotation.channel else {}
    options = SegConfig.resolve(with_run_options(given | dict(annotation.training or {})))
    table = cohort.table
    masks = table.field.map(corrections)
    table = table.assign(mask=masks.where(masks.notna(), table["mask"]))
    is_used = table.split.isin(["valid", "test"]) | masks.notna()
    log.info("%s: %d corrected fields", out.name, masks.notna().sum())
    return train_seg(options, out, cohort=replace(cohort, table=table[is_used].reset_index(drop=True)), before=before)


def _scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    valid, test = (metrics["objects"][split] for split in ("valid", "test"))
    iou = metrics["test"]["iou"]
    return {"f1": test["f1_50"], "f1_mean": test["f1_mean"], "iou": iou, "f1_valid": valid["f1_50"]}


def _write(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    with written_whole(out / "curve.csv") as tmp:
        pd.DataFrame(rows).to_csv(tmp, index=False)
