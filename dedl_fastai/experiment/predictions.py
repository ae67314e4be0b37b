"""`predict_classes`: a CSV of probabilities and labels of new fields; and which files a user's inputs mean."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.cohort import Cohort
from ..data.layouts import LAYOUTS, images_in
from ..errors import UserError
from ..inference.classifier import Classifier
from ..inference.clf_scores import predicted_labels
from ..inference.load import load_run
from ..io.files import written_whole

log = logging.getLogger(__name__)


def predict_classes(
    runs: Sequence[str | Path],  # of the same classes: their probabilities and thresholds are averaged
    inputs: Iterable[str | Path],  # image files, or folders of them
    out: str | Path,
    which: str = "best",
    device: str = "auto",
) -> list[str]:
    """Write `out`/predictions.csv, a row a field: file, labels, a probability a class. Returns what did not read."""
    models = _loaded(runs, which, device)
    classes, thresholds = models[0].classes, np.mean([m.thresholds for m in models], axis=0)
    rows, failed = [], []
    for image in image_files(inputs):
        try:
            p = np.mean([list(m.predict(image).values()) for m in models], axis=0)
        except UserError as e:
            failed.append(str(e))
            continue
        labels = ";".join(c for c, there in zip(classes, predicted_labels(p, thresholds), strict=True) if there)
        rows.append({"image": image, "labels": labels, **dict(zip(classes, p.round(6).tolist(), strict=True))})
        log.info("%s: %s", image, labels or "none")
    if rows:
        with written_whole(Path(out) / "predictions.csv") as tmp:
            pd.DataFrame(rows).to_csv(tmp, index=False)
    return failed


def _loaded(runs: Sequence[str | Path], which: str, device: str) -> list[Classifier]:
    models = [load_run(r, which, device) for r in runs]
    for run, model in zip(runs, models, strict=True):
        if not isinstance(model, Classifier):
            raise UserError(
                f"{run} is a segmentation run, {runs[0]} a classification: predict with one kind at a time."
            )
        if model.classes != models[0].classes:
            names = ", ".join(model.classes)
            raise UserError(f"{run} does not fit the first run: its classes are {names}.")
    return models


def image_files(inputs: Iterable[str | Path]) -> list[str]:
    """The files themselves, and the images in the folders; `UserError` for what is not there."""
    files: list[str] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise UserError(f"{path} does not exist.")
        files += _in_folder(path) if path.is_dir() and path.suffix != ".zarr" else [str(path)]
    return files


def _in_folder(folder: Path) -> list[str]:
    """The images of a cohort, or those in a folder that is none; `UserError` if there are none."""
    if all(find(folder) is None for find in LAYOUTS.values()):
        plain = images_in(folder)
        if plain:
            return [str(p) for p in plain]
    return list(Cohort.load(folder).table.image)
