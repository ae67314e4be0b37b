"""`blend_with_start`: weights between those that a training started from and those it reached, for few corrections."""

import logging
import shutil
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...data.cohort import Cohort
from ...inference.load import load_segmenter
from ...inference.segmenter import Segmenter
from ...io.files import written_whole
from ...models.weights import read_tensors, write_tensors
from ...scores.nuclei_tuning import tune_nuclei
from ...scores.whole_fields import temporary_maps, tune_threshold
from ...training.run_folder import RunFolder
from ..options.seg import SegConfig
from .evaluation import predict_splits

log = logging.getLogger(__name__)

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)  # of the way from the start to the trained weights
_NO_LOSS = 0.01  # of the score: less than what two seeds differ by
_UNBLENDED = "unblended.safetensors"


def blend_with_start(run: RunFolder, options: SegConfig, cohort: Cohort, start: Mapping[str, Tensor]) -> dict[str, Any]:
    """Replace the best weights of a run by a mean of them and the weights it started from, and say which mean.

    A few corrected regions pull a network towards themselves and away from everything else; on the way between two
    such networks the loss is low, and the middle is often better than both ends on other images (WiSE-FT, Wortsman et
    al. 2022). Each of `SHARES` is scored on the validation fields, tuned as the run itself is: the mean F1 over IoU 0.5
    to 0.9 with a head whose fields tell nuclei apart, else the IoU. The smallest share within 0.01 of the best is
    taken, since validation fields are often of the slides that were corrected, and other slides are not. Returns the
    `share`, the `metric` and the scores of all shares. A call that was interrupted can be repeated.
    """
    best, unblended = run.path / "best.safetensors", run.path / _UNBLENDED
    if not unblended.is_file():
        with written_whole(unblended) as tmp:
            shutil.copyfile(best, tmp)
    trained = read_tensors(unblended)
    segmenter = load_segmenter(run.path, "best", options.device, options.overlap)
    scores, metric = {}, ""
    for share in SHARES:
        segmenter.model.load_state_dict(_between(start, trained, share))
        scores[share], metric = _validation_score(segmenter, cohort)
    chosen = next(share for share in SHARES if scores[share] >= max(scores.values()) - _NO_LOSS)
    write_tensors(best, _between(start, trained, chosen))
    log.info("weights: %g of the way from the start to the trained ones (%s %.3f)", chosen, metric, scores[chosen])
    return {"share": chosen, "metric": metric, "scores": {f"{share:g}": score for share, score in scores.items()}}


def remove_unblended(run: RunFolder) -> None:
    """Remove what `blend_with_start` keeps to be repeatable; call it once the run is scored."""
    (run.path / _UNBLENDED).unlink(missing_ok=True)


def _between(start: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The mean of two sets of weights; counters, which are integers, are those of the training."""
    return {
        name: start[name].lerp(tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in trained.items()
    }


def _validation_score(segmenter: Segmenter, cohort: Cohort) -> tuple[float, str]:
    with temporary_maps() as folder:
        fields = predict_splits(segmenter, cohort, ["valid"], folder)["valid"]
        found = tune_nuclei(fields) if segmenter.head != "mask" else None
        if not found or not found["fields"]:
            return tune_threshold(fields)["iou"], "IoU"
        (score,) = {t["f1_mean"] for t in found["tried"] if {k: t[k] for k in found["value"]} == found["value"]}
        return score, "mean F1"
