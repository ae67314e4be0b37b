"""`predict_classes`: predict the labels of fields, and write them and the class probabilities to a CSV file."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from ..inference.classifier_ensemble import ClassifierEnsemble
from ..io.files import written_whole
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
    model = ClassifierEnsemble.load(runs, which, device)
    images, failed = image_files(inputs)
    rows = []
    for image in images:
        try:
            names, _, _ = model.predict(image)
        except Exception as e:  # decoders raise exceptions of their own: whatever it is, the other fields continue
            failed.append(left_out(e, image))
            continue
        labels = ";".join(names)
        rows.append({"image": image, "labels": labels, **{c: round(p, 6) for c, p in names.values.items()}})
        log.info("%s: %s", image, labels or "none")
    if rows:
        with written_whole(Path(out) / "predictions.csv") as tmp:
            pd.DataFrame(rows).to_csv(tmp, index=False)
    return failed
