"""`predict_classes`: a CSV with the labels of new fields and the probability of each class."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..inference.classifier import Classifier
from ..inference.load import load_run
from ..io.files import written_whole
from ..scores.thresholds import predicted_labels
from .inputs import image_files, left_out

log = logging.getLogger(__name__)


def predict_classes(
    runs: Sequence[str | Path],  # of the same classes: their probabilities and thresholds are averaged
    inputs: Iterable[str | Path],  # image files, or folders of them
    out: str | Path,
    which: str = "best",
    device: str = "auto",
) -> list[str]:
    """Write `out`/predictions.csv, a row a field: file, labels, a probability a class. Returns what was left out."""
    models = _loaded(runs, which, device)
    classes, thresholds = models[0].classes, np.mean([m.thresholds for m in models], axis=0)
    images, failed = image_files(inputs)
    rows = []
    for image in images:
        try:
            p = np.mean([list(m.predict(image).values()) for m in models], axis=0)
        except Exception as e:  # engines and decoders raise types of their own: a field costs a line, whatever it was
            failed.append(left_out(e, image))
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
