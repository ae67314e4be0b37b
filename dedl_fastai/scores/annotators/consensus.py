"""`consensus_mask` and `consensus_labels`: one truth made of the masks of several annotators."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ...errors import UserError
from ...extras import optional
from ...io.masks import IGNORED
from ..object_matches import dense_labels, overlaps

MAJORITY, STAPLE = RULES = ("majority", "staple")
_SAME = 0.5  # nuclei of two annotators with an IoU above this are the same; no nucleus then equals two of another's


def consensus_mask(masks: Sequence[np.ndarray], rule: str = MAJORITY) -> np.ndarray:
    """Return the foreground of several masks (H, W) as int8: 1, 0, or `IGNORED` where no annotator knows.

    majority: more than half of the annotators who know the pixel mark it, so that ties are background. staple: its
    probability is above 0.5, where each annotator counts by an estimate of sensitivity and specificity (Warfield et al.
    2004, by SimpleITK). Raises `UserError` for another rule, for masks of different shapes, and, with staple, for
    pixels that are not known.
    """
    if rule not in RULES:
        raise UserError(f"rule={rule!r} is unknown; it may be {' or '.join(RULES)}.")
    stack = _stacked(masks)
    known = stack >= 0
    if rule == STAPLE:
        if not known.all():
            raise UserError(f"rule={STAPLE} needs masks without pixels that are not known ({IGNORED}): use {MAJORITY}.")
        return _staple(stack > 0).astype(np.int8)
    marked = 2 * (stack > 0).sum(axis=0) > known.sum(axis=0)
    return np.where(known.any(axis=0), marked, IGNORED).astype(np.int8)


def consensus_labels(labels: Sequence[np.ndarray], rule: str = MAJORITY) -> np.ndarray:
    """Return the nuclei on which several annotators agree, int32 (H, W): ids from 1 on, 0, or `IGNORED`.

    Nuclei of two annotators with an IoU above 0.5 are the same nucleus, and so are those that are linked by others. A
    nucleus is kept if more than half of the annotators who know its place have it. The foreground is that of
    `consensus_mask`, and each of its pixels belongs to the kept nucleus of most annotators (of the first one, if there
    are several). Foreground without a kept nucleus is `IGNORED`: there is a nucleus, but the annotators do not agree
    which one. Raises `UserError` as `consensus_mask` does.
    """
    foreground = consensus_mask(labels, rule)
    nuclei = _kept_nuclei(_stacked(labels))
    of_pixel = _of_most(nuclei)
    result, _ = dense_labels(of_pixel * (foreground > 0))
    result = result.reshape(foreground.shape).astype(np.int32)
    return np.where((foreground != 0) & (result == 0), np.int32(IGNORED), result)


def _stacked(masks: Sequence[np.ndarray]) -> np.ndarray:
    shapes = {m.shape for m in masks}
    if len(shapes) != 1:
        raise UserError(f"masks of the same field are needed; they have the shapes {sorted(shapes)}.")
    return np.stack(masks)


def _staple(masks: np.ndarray) -> np.ndarray:
    """Foreground by STAPLE; masks that are equal need none, and it is not defined for masks without background."""
    if (masks == masks[0]).all():
        return masks[0]
    sitk = optional("SimpleITK", "staple", "consensus masks by STAPLE")
    estimate = sitk.STAPLEImageFilter()
    estimate.SetForegroundValue(1)
    probability = estimate.Execute([sitk.GetImageFromArray(m.astype(np.uint8)) for m in masks])
    return sitk.GetArrayViewFromImage(probability) > 0.5


def _kept_nuclei(labels: np.ndarray) -> np.ndarray:
    """The nuclei (A, H, W) that are kept, with the same number from 1 on in every annotator that has them."""
    numbered, firsts = _numbered(labels)
    edges = [_same(labels[a], labels[b], firsts[a], firsts[b]) for a, b in combinations(range(len(labels)), 2)]
    rows, columns = np.concatenate([*edges, np.empty((2, 0), int)], axis=1)
    n = firsts[-1] + 1
    _, group = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n)), directed=False)
    nuclei = np.where(numbered > 0, group[numbered] + 1, 0)
    has = np.zeros((len(labels), nuclei.max() + 1))
    for annotator, present in zip(has, nuclei, strict=True):
        annotator[np.unique(present)] = 1
    known = np.broadcast_to((labels >= 0).sum(axis=0), labels.shape)  # annotators who know the pixel
    who_know = np.bincount(nuclei.ravel(), known.ravel()) / np.maximum(np.bincount(nuclei.ravel()), 1)
    is_kept = 2 * has.sum(axis=0) > who_know
    return np.where(is_kept[nuclei], nuclei, 0)


def _numbered(labels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Nuclei of all annotators numbered from 1 on, and the number before the first of each annotator; then the last."""
    parts, firsts = [], [0]
    for of_annotator in labels:
        flat, n = dense_labels(of_annotator)
        parts.append(np.where(flat > 0, flat + firsts[-1], 0).reshape(of_annotator.shape))
        firsts.append(firsts[-1] + n)
    return np.stack(parts), firsts


def _same(one: np.ndarray, other: np.ndarray, first: int, other_first: int) -> np.ndarray:
    """The numbers (2, pairs) of the nuclei of two annotators that are the same."""
    rows, columns, iou, _, _ = overlaps(one, other)
    return np.stack([rows + first, columns + other_first])[:, iou > _SAME]


def _of_most(nuclei: np.ndarray) -> np.ndarray:
    """The nucleus (H, W) that most annotators have at a pixel; 0 if none has one."""
    votes = np.stack([((nuclei == of_annotator) & (of_annotator > 0)).sum(axis=0) for of_annotator in nuclei])
    return np.take_along_axis(nuclei, votes.argmax(axis=0)[None], axis=0)[0]
