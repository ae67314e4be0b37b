"""`predict_classes`: a CSV of probabilities and labels of new fields."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..data.cohort import Cohort
from ..errors import UserError
from ..inference.classifier import Classifier
from ..inference.load import load_run
from ..io.files import written_whole

log = logging.getLogger(__name__)


def predict_classes(
    run: str | Path,
    inputs: Iterable[str | Path],  # image files, or folders that `Cohort.load` knows
    out: str | Path,
    which: str = "best",
    device: str = "auto",
) -> list[str]:
    """Write a row a field: file, labels at the tuned thresholds, a probability a class. Returns what did not read."""
    model = load_run(run, which, device)
    if not isinstance(model, Classifier):
        raise UserError(f"{run} is a segmentation run: `predict` writes the classes of a classification run.")
    rows, failed = [], []
    for image in image_files(inputs):
        try:
            found = model.predict(image)
        except UserError as e:
            failed.append(str(e))
            continue
        labels = ";".join(c for c, t in zip(model.classes, model.thresholds, strict=True) if found[c] >= t)
        rows.append({"image": image, "labels": labels, **{c: round(p, 6) for c, p in found.items()}})
        log.info("%s: %s", image, labels or "none")
    if rows:
        with written_whole(out) as tmp:
            pd.DataFrame(rows).to_csv(tmp, index=False)
    return failed


def image_files(inputs: Iterable[str | Path]) -> list[str]:
    """The files themselves, and the images of the cohorts in the folders; `UserError` for what is not there."""
    files: list[str] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise UserError(f"{path} does not exist.")
        files += list(Cohort.load(path).table.image) if path.is_dir() else [str(path)]
    return files
