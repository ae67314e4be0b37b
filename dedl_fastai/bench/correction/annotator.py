"""`annotate`: a simulated annotator, who corrects parts of a predicted field to the truth and marks them as checked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...io.corrections import CHECK, FOLDER, LABELS, LOG, Action, checked_mask, with_whole_nuclei
from ...io.fields.readers import open_field
from ...io.files import write_text
from ...io.masks import read_labels
from ...io.ome_tiff import write_ome_tiff
from ...predict.kinds import KINDS
from ...scores.nucleus_errors import FALSE, FOUND, nucleus_errors

Box = tuple[int, int, int, int]  # y0, x0, y1, x1 in pixels


def annotate(
    results: str | Path,
    field: str,
    truth: str | Path,
    boxes: Sequence[Box] = (),  # empty: the whole field
    to: str | Path | None = None,  # folder in which corrections/ is written; default: that of the results
) -> int:
    """Write the corrections of a field of `predict`'s results, and return the number of nuclei that were corrected.

    In the boxes the labels are the true nuclei of a mask file with ids and without unknown pixels, elsewhere the
    predicted ones. A true nucleus that was not found (at an IoU of 0.5), and a false one, count as one each.
    """
    results = Path(results)
    with open_field(results / f"{field}{KINDS['labels'].ending}") as opened:
        predicted, pixel_size = opened.read(0).astype(np.int32), opened.pixel_size_um
    true = np.maximum(read_labels(truth), 0)
    checks = [Action(CHECK, points=_corners(box), revision=i) for i, box in enumerate(boxes or (None,), 1)]
    checked = checked_mask(checks, true.shape)
    kept = np.where(with_whole_nuclei(~checked, predicted), predicted, 0)
    drawn = np.where(with_whole_nuclei(checked, true), true, 0)
    labels = np.where(drawn > 0, drawn + kept.max(), kept)
    folder = (Path(to) if to else results) / FOLDER
    write_ome_tiff(folder / f"{field}{LABELS}", labels.astype(np.uint32), ["nucleus id"], pixel_size)
    write_text(folder / f"{field}{LOG}", "".join(f"{check.line}\n" for check in checks))
    errors = nucleus_errors(np.where(with_whole_nuclei(checked, predicted), predicted, 0), drawn)
    return sum(name != FOUND for name in errors.true.values()) + sum(n == FALSE for n in errors.predicted.values())


def _corners(box: Box | None) -> tuple[tuple[float, float], ...] | None:
    if box is None:
        return None
    y0, x0, y1, x1 = box
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
