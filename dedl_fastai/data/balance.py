"""`balanced_groups`: patients in groups of about equal size, in fields and in every class."""

import random
from collections.abc import Sequence

import numpy as np
import pandas as pd

_TRIES = 20  # number of patient orders that are tried; the most even groups are used


def balanced_groups(sums: pd.DataFrame, n: int, seed: int) -> dict[str, int]:
    """Return patient -> group 0..n-1, the most even of several greedy assignments; no group is empty.

    `sums` has one row per patient and one column for each quantity to balance, such as the number of fields.
    """
    rng = random.Random(seed)
    weights = sums.to_numpy() / np.maximum(sums.to_numpy().sum(axis=0), 1)  # shares, so that all columns count equally
    best: tuple[float, list[int]] = (float("inf"), [])
    for _ in range(_TRIES):
        order = list(range(len(sums)))
        rng.shuffle(order)
        order.sort(key=lambda i: -weights[i].sum().round(9))
        cost, groups = _greedy(weights, order, n)
        if cost < best[0] - 1e-12:
            best = cost, groups
    return dict(zip(sums.index, best[1], strict=True))


def _greedy(weights: np.ndarray, order: Sequence[int], n: int) -> tuple[float, list[int]]:
    """Assign each patient to the group that keeps the groups most even; no group stays empty."""
    filled, sizes, groups = np.zeros((n, weights.shape[1])), np.zeros(n, dtype=int), [0] * len(order)
    for n_assigned, i in enumerate(order):
        cost = (2 * filled * weights[i] + weights[i] ** 2).sum(axis=1)  # increase of the sum of squares
        if (sizes == 0).sum() >= len(order) - n_assigned:
            cost[sizes > 0] = np.inf
        k = int(np.argmin(cost))
        filled[k] += weights[i]
        sizes[k] += 1
        groups[i] = k
    return float((filled**2).sum()), groups
