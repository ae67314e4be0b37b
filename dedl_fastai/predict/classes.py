"""`predict_classes`: predict the labels of fields, and write them and the class probabilities to a CSV file."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..inference.classifier import Classifier
from ..inference.load import load_classifier
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
    """Write `out`/predictions.csv with the labels and probabilities of each field. Return a line per field left out."""
    models = _load_classifiers(runs, which, device)
    classes, thresholds = models[0].classes, np.mean([m.thresholds for m in models], axis=0)
    images, failed = image_files(inputs)
    rows = []
    for image in images:
        try:
            p = np.mean([list(m.predict(image).values()) for m in models], axis=0)
        except Exception as e:  # decoders raise exceptions of their own: whatever it is, the other fields continue
            failed.append(left_out(e, image))
            continue
        labels = ";".join(c for c, present in zip(classes, predicted_labels(p, thresholds), strict=True) if present)
        rows.append({"image": image, "labels": labels, **dict(zip(classes, p.round(6).tolist(), strict=True))})
        log.info("%s: %s", image, labels or "none")
    if rows:
        with written_whole(Path(out) / "predictions.csv") as tmp:
            pd.DataFrame(rows).to_csv(tmp, index=False)
    return failed


def _load_classifiers(runs: Sequence[str | Path], which: str, device: str) -> list[Classifier]:
    models = [load_classifier(run, which, device) for run in runs]
    for run, model in zip(runs, models, strict=True):
        if model.classes != models[0].classes:
            names = ", ".join(model.classes)
            raise UserError(f"{run} does not fit the first run: its classes are {names}.")
    return models
