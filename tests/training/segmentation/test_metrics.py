"""Segmentation metrics: exact on small masks, equal to scikit-learn's, and pooled for any batch size."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, recall_score

from dedl_fastai.data import Cohort, seg_dataloaders, split_cohort
from dedl_fastai.io.masks import IGNORED
from dedl_fastai.scores.pixel_counts import BoundaryCounts, Counts
from dedl_fastai.training import FieldLearner
from dedl_fastai.training.segmentation.metrics import TileDice, TileIoU, TunedIoU


def mask_of(text: str) -> np.ndarray:
    """The mask of a drawing: rows of `#` and `.`, separated by spaces."""
    return np.array([[c == "#" for c in row] for row in text.split()])


def random_pair(seed: int, share: float = 0.3, shape=(20, 30)):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < share, rng.random(shape) < share


FULL, EMPTY = np.ones((20, 30), bool), np.zeros((20, 30), bool)
PAIRS = {
    **{f"random{i}": random_pair(i, share) for i, share in enumerate((0.02, 0.3, 0.9))},
    "both-empty": (EMPTY, EMPTY),
    "both-full": (FULL, FULL),
    "all-false-alarm": (FULL, EMPTY),
    "all-missed": (EMPTY, FULL),
    "opposite": (random_pair(4)[0], ~random_pair(4)[0]),
}


def test_counts_by_hand():
    counts = Counts.of(mask_of("##.. ##.."), mask_of(".##. ...."))
    assert counts == Counts(tp=1, fp=3, fn=1, tn=3)


def test_scores_by_hand():
    scores = Counts(tp=6, fp=2, fn=4, tn=8).scores()
    expected = {
        "iou": 6 / 12,
        "dice": 12 / 18,
        "pixel_accuracy": 14 / 20,
        "mask_accuracy": 6 / 10,
        "background_accuracy": 8 / 10,
    }
    assert scores == pytest.approx(expected)


def test_counts_accept_any_number_type():
    predicted, truth = random_pair(0)
    assert Counts.of(predicted.astype(np.uint8), truth.astype(float)) == Counts.of(predicted, truth)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_scores_equal_those_of_scikit_learn(pair):
    predicted, truth = (m.ravel() for m in pair)
    expected = {
        "iou": jaccard_score(truth, predicted, zero_division=1),
        "dice": f1_score(truth, predicted, zero_division=1),
        "pixel_accuracy": accuracy_score(truth, predicted),
        "mask_accuracy": recall_score(truth, predicted, zero_division=1),
        "background_accuracy": recall_score(~truth, ~predicted, zero_division=1),
    }
    assert Counts.of(*pair).scores() == pytest.approx(expected, abs=1e-12)


def test_counts_of_parts_add_up_to_the_counts_of_the_whole():
    predicted, truth = random_pair(1)
    parts = [Counts.of(predicted[i : i + 7], truth[i : i + 7]) for i in range(0, 20, 7)]
    assert sum(parts, Counts()) == Counts.of(predicted, truth)


def test_pooled_iou_is_not_the_mean_of_the_ious():
    small, large = Counts(tp=1), Counts(tp=50, fp=50)
    assert (small + large).iou == pytest.approx(51 / 101)


SQUARE = mask_of("....... .####.. .####.. .####.. .####.. ....... .......")


def test_boundary_of_a_square_is_its_ring():
    counts = BoundaryCounts.of(SQUARE, SQUARE)
    assert counts == BoundaryCounts(12, 12, 12, 12)
    assert counts.f1 == 1


def test_edge_of_the_field_is_not_a_boundary():
    assert BoundaryCounts.of(FULL, FULL) == BoundaryCounts()
    half = FULL.copy()
    half[:, 15:] = False
    assert BoundaryCounts.of(half, half).true == 20


@pytest.mark.parametrize(
    ("shift", "tolerance", "near"), [(0, 0, 10), (1, 0, 0), (1, 1, 10), (2, 2, 10), (3, 2, 0), (3, 3, 10)]
)
def test_boundary_is_near_up_to_the_tolerance(shift, tolerance, near):
    truth, predicted = np.zeros((30, 10), bool), np.zeros((30, 10), bool)
    truth[10:], predicted[10 + shift :] = True, True
    counts = BoundaryCounts.of(predicted, truth, tolerance)
    assert (counts.predicted_near, counts.true_near) == (near, near)


def edge(mask: np.ndarray) -> np.ndarray:
    """Mask pixels with a background pixel above, below, left or right of them, found pixel by pixel."""
    is_edge = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        neighbours = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        inside = [(a, b) for a, b in neighbours if 0 <= a < mask.shape[0] and 0 <= b < mask.shape[1]]
        is_edge[y, x] = not all(mask[p] for p in inside)
    return is_edge


@pytest.mark.parametrize("tolerance", [0, 1, 2])
def test_boundary_counts_equal_a_pixel_by_pixel_search(tolerance):
    predicted, truth = random_pair(2, share=0.6, shape=(14, 17))
    p, t = np.argwhere(edge(predicted)), np.argwhere(edge(truth))
    distance = np.abs(p[:, None] - t[None]).max(axis=-1)
    near_p, near_t = (int((distance.min(axis=a) <= tolerance).sum()) for a in (1, 0))
    assert BoundaryCounts.of(predicted, truth, tolerance) == BoundaryCounts(len(p), near_p, len(t), near_t)


def test_boundary_f1_by_hand():
    assert BoundaryCounts(predicted=10, predicted_near=5, true=8, true_near=6).f1 == pytest.approx(0.6)


def test_boundary_f1_without_any_boundary_is_1():
    assert BoundaryCounts.of(EMPTY, EMPTY).f1 == 1
    assert BoundaryCounts.of(FULL, EMPTY).f1 == 1


def test_boundary_f1_is_0_if_only_one_has_a_boundary_or_none_is_near():
    assert BoundaryCounts.of(SQUARE, np.zeros_like(SQUARE)).f1 == 0
    assert BoundaryCounts.of(np.zeros_like(SQUARE), SQUARE).f1 == 0
    assert BoundaryCounts(predicted=3, true=3).f1 == 0


def test_boundary_counts_of_fields_add_up():
    first, second = BoundaryCounts(1, 2, 3, 4), BoundaryCounts(10, 20, 30, 40)
    assert first + second == BoundaryCounts(11, 22, 33, 44)


def pooled(metric, logits, masks, bs: int) -> float:
    """The value of the metric over batches of `bs` tiles, of which nothing but the tensors is known."""
    metric.reset()
    for i, first in enumerate(range(0, len(logits), bs)):
        batch = slice(first, first + bs)
        metric.accumulate(SimpleNamespace(pred=logits[batch], y=masks[batch], dl=SimpleNamespace(bs=bs), iter=i))
    return metric.value


def logits_of(probability: torch.Tensor) -> torch.Tensor:
    """Logits (B, 2, H, W) of these probabilities of a nucleus (B, H, W)."""
    return torch.stack([torch.zeros_like(probability), torch.logit(probability)], dim=1)


@pytest.mark.parametrize(("metric", "score"), [(TileIoU(), jaccard_score), (TileDice(), f1_score)], ids=["iou", "dice"])
@pytest.mark.parametrize("bs", [1, 3, 4, 10])
def test_tile_metric_is_pooled_for_any_batch_size(metric, score, bs):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 2, 8, 8, generator=generator)
    masks = (torch.rand(10, 8, 8, generator=generator) < torch.linspace(0, 0.9, 10)[:, None, None]).long()
    expected = score(masks.flatten(), logits.argmax(dim=1).flatten())
    assert pooled(metric, logits, masks, bs) == pytest.approx(expected, abs=1e-12)


def test_tile_metric_is_reset_and_is_1_without_pixels():
    metric = TileIoU()
    masks = torch.ones(1, 4, 4, dtype=torch.long)
    wrong = torch.stack([masks, 0 * masks], dim=1).float()
    assert pooled(metric, wrong, masks, 1) == 0
    metric.reset()
    assert metric.value == 1


def test_a_map_that_is_too_large_at_one_half_has_the_iou_of_its_best_threshold():
    nucleus, around = torch.zeros(2, 1, 12, 12)
    nucleus[:, 4:8, 4:8], around[:, 2:10, 2:10] = 1, 1
    logits, masks = logits_of(0.1 + 0.5 * around + 0.3 * nucleus), nucleus.long()  # 0.9 within, 0.6 around
    assert pooled(TileIoU(), logits, masks, 1) == 16 / 64
    assert pooled(TunedIoU(), logits, masks, 1) == 1


@pytest.mark.parametrize("bs", [1, 3, 10])
def test_tuned_iou_is_the_best_of_all_thresholds_for_any_batch_size(bs):
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(10, 8, 8, generator=generator) < torch.linspace(0, 0.9, 10)[:, None, None]).long()
    steps = torch.randint(1, 200, masks.shape, generator=generator) // (2 - masks)
    expected = max(Counts.of((steps >= k).numpy(), masks.numpy()).iou for k in range(1, 201))
    assert pooled(TunedIoU(), logits_of(steps / 200), masks, bs) == pytest.approx(expected, abs=1e-12)


def test_everything_is_not_a_nucleus_for_want_of_a_better_threshold():
    masks = torch.ones(1, 4, 4, dtype=torch.long)
    assert pooled(TunedIoU(), logits_of(torch.full((1, 4, 4), 0.001)), masks, 1) == 0


def test_tuned_iou_of_a_model_without_numbers_is_a_number():
    masks = torch.ones(1, 4, 4, dtype=torch.long)
    assert pooled(TunedIoU(), torch.full((1, 2, 4, 4), torch.nan), masks, 1) == 0


def brightness() -> torch.nn.Module:
    """A model whose logit of a nucleus is the normalised pixel."""
    model = torch.nn.Conv2d(1, 2, 1, bias=False)
    model.weight.data = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    return model


@pytest.fixture(scope="module")
def validated(tiny_folder):
    """`tuned(bs)`: the loaders of padded tiles, and TunedIoU of their validation tiles by brightness."""
    cohort = split_cohort(Cohort.load(tiny_folder), "paper")  # 2 validation fields of 96 x 128

    def tuned(bs, which=1, **options):
        dls = seg_dataloaders(cohort, tile=80, bs=bs, seed=0, pad="reflect", device="cpu", **options)
        learn = FieldLearner(dls, brightness(), torch.nn.CrossEntropyLoss(), metrics=[TunedIoU()])
        with learn.no_bar(), learn.no_logging():
            return dls, learn.validate(which)[1]

    return tuned


def iou_of_brightness(dls, tiles, padded: bool) -> float:
    """The best IoU of all thresholds, from the pixels of the tiles, with or without the padding."""
    size = [(t.size, t.size) if padded else t.inside for t in tiles]
    mean, std = dls.facts.mean[0], dls.facts.std[0]
    x = np.concatenate([t.pixels()[0, :h, :w].ravel() for t, (h, w) in zip(tiles, size, strict=True)])
    truth = np.concatenate([t.mask()[:h, :w].ravel() for t, (h, w) in zip(tiles, size, strict=True)])
    probability = 1 / (1 + np.exp(-(x - mean) / std))
    return max(Counts.of(probability >= k / 200, truth).iou for k in range(1, 201))


@pytest.mark.parametrize("bs", [2, 4, 16])
def test_padding_is_left_out(validated, bs):
    dls, tuned = validated(bs)
    tiles = dls.valid_ds.items
    assert tuned == pytest.approx(iou_of_brightness(dls, tiles, padded=False), abs=1e-3)
    assert abs(tuned - iou_of_brightness(dls, tiles, padded=True)) > 5e-3


def test_all_pixels_count_where_the_order_of_the_tiles_is_unknown(validated):
    dls, tuned = validated(4, which=0, augment=[])
    assert tuned == pytest.approx(iou_of_brightness(dls, dls.train_ds.items, padded=True), abs=1e-3)


def test_columns_of_the_history():
    assert (TileIoU().name, TileDice().name, TunedIoU().name) == ("iou", "dice", "iou_tuned")


@pytest.mark.parametrize("metric", [TileIoU, TileDice, TunedIoU])
def test_ignored_pixels_do_not_count(metric):
    values = []
    for hidden in (-5.0, 5.0):
        logits = torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(1))
        truth = (torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(2)) > 0.5).long()
        logits[:, 1, :3], truth[:, :3] = hidden, IGNORED
        counted = metric()
        counted.reset()
        counted.accumulate(SimpleNamespace(pred=logits, y=truth, dl=SimpleNamespace(shuffle=True, items=[])))
        values.append(counted.value)
    assert values[0] == values[1] > 0
