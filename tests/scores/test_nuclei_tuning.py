"""Tuning of how nuclei are separated, on constructed maps."""

import numpy as np
import pytest
from PIL import Image

from dedl_fastai.data.cache import CachedField
from dedl_fastai.scores.nuclei_tuning import tune_nuclei
from dedl_fastai.scores.whole_fields import FieldPrediction, quantise


def prediction(folder, ids: np.ndarray, planes: list[np.ndarray]) -> FieldPrediction:
    """A field with these true ids and predicted planes (probability and maps)."""
    image, truth, file = folder / "image.png", folder / "truth.png", folder / "planes.npy"
    Image.fromarray(np.zeros(ids.shape, np.uint8)).save(image)
    Image.fromarray(ids.astype(np.uint16)).save(truth)
    np.save(file, quantise(np.stack(planes)))
    source = CachedField("f", "", "", ids.shape)
    return FieldPrediction(source, "p", str(image), str(truth), ["DAPI"], file)


def bars(dip: float, inner: float) -> tuple[np.ndarray, np.ndarray]:
    """Ids of pairs of touching squares, and a distance that dips by `dip` between them and by `inner` within each."""
    x = np.arange(80)
    ids = np.zeros((60, 80), int)
    distance = np.zeros((60, 80))
    for row, y in enumerate((2, 22, 42)):
        ids[y : y + 16] = 2 * row + 1 + (x >= 40)
        near = np.minimum(np.abs(x - 39.5), 10) / 10  # 0 at the border between both
        within = np.minimum(np.abs(np.abs(x - 39.5) - 20), 5) / 5  # 0 in the middle of each
        distance[y : y + 16] = 0.9 - dip * (1 - near) - inner * (1 - within)
    return ids, distance


@pytest.mark.parametrize(
    ("dip", "inner", "h"), [(0.3, 0.0, 0.06), (0.3, 0.08, 0.1), (0.3, 0.13, 0.15), (0.3, 0.17, 0.2), (0.11, 0, 0.06)]
)
def test_h_is_the_smallest_that_splits_no_nucleus(tmp_path, dip, inner, h):
    ids, distance = bars(dip, inner)
    tuned = tune_nuclei([prediction(tmp_path, ids, [ids > 0, distance])])
    assert tuned["value"] == {"h": h, "threshold": 0.5} and tuned["fields"] == 1
    scores = {t["h"]: t["f1_mean"] for t in tuned["tried"] if t["threshold"] == 0.5}
    assert scores[h] > 0.95 and set(scores) == {0.06, 0.1, 0.15, 0.2}


def test_the_threshold_changes_where_it_gains(tmp_path):
    ids, distance = bars(0.3, 0.0)
    rim = np.zeros(ids.shape, bool)
    rim[:, :6] = True
    probability = np.where(ids > 0, np.where(rim, 0.45, 0.9), 0.1)
    assert tune_nuclei([prediction(tmp_path, ids, [probability, distance])])["value"]["threshold"] == 0.4


def test_a_flow_has_no_h_to_tune(tmp_path):
    ids, _ = bars(0.3, 0.0)
    flow = [np.full(ids.shape, 0.5)] * 2
    tuned = tune_nuclei([prediction(tmp_path, ids, [ids > 0, *flow])])
    assert {t["h"] for t in tuned["tried"]} == {tuned["value"]["h"]}


def test_masks_without_ids_have_the_defaults(tmp_path):
    ids, distance = bars(0.3, 0.0)
    tuned = tune_nuclei([prediction(tmp_path, (ids > 0).astype(int), [ids > 0, distance])])
    assert tuned == {"value": {"h": 0.1, "threshold": 0.5}, "fields": 0, "tried": []}
