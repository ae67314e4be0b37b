"""Scores of a field of which only a part is known: nothing in the other part changes a number."""

import numpy as np
import pytest
import tifffile

from dedl_fastai.data.cache import CachedField
from dedl_fastai.io import read_labels, read_mask
from dedl_fastai.io.masks import IGNORED
from dedl_fastai.scores.known_part import known_objects
from dedl_fastai.scores.nuclei_tuning import tune_nuclei
from dedl_fastai.scores.objects import score_objects
from dedl_fastai.scores.pixel_counts import BoundaryCounts, Counts
from dedl_fastai.scores.whole_fields import (
    FieldPrediction,
    quantise,
    score,
    score_background,
    score_otsu,
    tune_threshold,
)

KNOWN = 40  # columns that are known


def field(folder, seed: int) -> FieldPrediction:
    """A field with nuclei in squares; what was predicted beyond the known columns depends on the seed."""
    rng, beyond = np.random.default_rng(0), np.random.default_rng(seed)
    ids = np.kron(np.arange(1, 49).reshape(6, 8), np.ones((10, 10), int))
    ids[::10], ids[:, ::10] = 0, 0
    planes = np.stack([np.clip((ids > 0) + rng.normal(0, 0.35, ids.shape), 0, 1), np.where(ids > 0, 0.8, 0)])
    planes[:, :, KNOWN + 1 :] = beyond.random(planes[:, :, KNOWN + 1 :].shape)
    planes[:, :, KNOWN] = 0  # no predicted nucleus is in both parts
    ids[:, KNOWN:] = IGNORED
    files = {name: folder / f"{name}{seed}.npy" for name in ("pixels", "mask", "planes")}
    tifffile.imwrite(folder / f"truth{seed}.tif", ids.astype(np.int32))
    tifffile.imwrite(folder / f"image{seed}.tif", np.where(ids > 0, 200, 0).astype(np.uint8))
    np.save(files["pixels"], np.where(ids > 0, 0.9, 0.1)[None])
    np.save(files["mask"], read_mask(folder / f"truth{seed}.tif"))
    np.save(files["planes"], quantise(planes))
    source = CachedField("f", str(files["pixels"]), str(files["mask"]), ids.shape)
    image, truth = (str(folder / f"{name}{seed}.tif") for name in ("image", "truth"))
    return FieldPrediction(source, "p", image, truth, ["0"], files["planes"])


@pytest.mark.parametrize(
    "number",
    [
        lambda f: score(f, 0.5),
        score_background,
        score_otsu,
        tune_threshold,
        tune_nuclei,
        lambda f: score_objects(f, 0.5),
    ],
    ids=["pixels", "background", "otsu", "threshold", "nuclei-tuning", "nuclei"],
)
def test_what_is_predicted_in_the_unknown_part_changes_no_number(tmp_path, number):
    assert number([field(tmp_path, 1)]) == number([field(tmp_path, 2)])


def test_only_the_nuclei_of_the_known_part_are_scored(tmp_path):
    one = field(tmp_path, 1)
    found = score_objects([one], 0.5)
    assert found["n_true"] == 24 and found["baselines"]["otsu"]["f1_50"] == 1
    counts = Counts.of(one.mask(0.5), read_mask(one.truth))
    assert counts.tp + counts.fn == 24 * 81 and counts.tp + counts.fp + counts.fn + counts.tn == 60 * KNOWN
    assert (read_labels(one.truth) == IGNORED).sum() == 60 * 40


def test_a_predicted_nucleus_counts_if_most_of_it_is_in_the_known_part():
    truth = np.zeros((3, 10), int)
    truth[:, 5:] = IGNORED
    predicted = np.zeros((3, 10), int)
    predicted[0, 2:7], predicted[1, 3:8], predicted[2, 6:9] = 1, 2, 3
    found, true = known_objects(predicted, truth)
    expected = np.zeros((3, 10), int)
    expected[0, 2:5] = 1
    np.testing.assert_array_equal(found, expected)
    assert not true.any()


def test_boundaries_near_the_unknown_part_are_left_out():
    truth = np.zeros((20, 20), np.int8)
    truth[5:15, 5:15], truth[:, 12:] = 1, IGNORED
    found = BoundaryCounts.of(truth > 0, truth)
    assert found.true == found.true_near == 10 + 2 * 3  # the left side, and three pixels of top and bottom
