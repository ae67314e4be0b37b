"""A folder of results with corrections, as `predict` and `view` leave it, from the true nuclei of a cohort."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skimage.measure import label

from dedl_fastai.data import Cohort
from dedl_fastai.io import read_mask, write_ome_tiff
from dedl_fastai.io.corrections import Action

Check = tuple[tuple[float, float], ...] | None  # the corners (x, y) of what is checked, or everything


def corrected_results(folder: Path, cohort: Cohort, checked: Mapping[str, Check]) -> Path:
    """Write results in which these fields have their true nuclei as corrected labels, and the parts are checked."""
    for row in cohort.rows():
        if row.field in checked:
            correct(folder, row, [Action("check", points=checked[row.field])])
    return folder


def correct(folder: Path, row: Any, actions: Sequence[Action]) -> None:
    """Write the record, the corrected labels and the log of a field."""
    for name in ("fields", "corrections"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "fields" / f"{row.field}.json").write_text(json.dumps({"image": row.image}))
    labels = label(read_mask(row.mask)).astype("uint32")
    write_ome_tiff(folder / "corrections" / f"{row.field}.ome.tif", labels, ["nucleus id"])
    lines = [f"{replace(action, revision=i).line}\n" for i, action in enumerate(actions, 1)]
    (folder / "corrections" / f"{row.field}.jsonl").write_text("".join(lines))
