"""`compare_groups`: whether pairs of cell types are neighbours more often in one group of patients than in another."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, permutation_test

from ..errors import UserError
from .neighbours import corrected

LEVEL = 0.05  # q below which a difference counts as shown
_FEWEST = 2  # patients of a group for an interval and a p-value
_RESAMPLES = 9999


def compare_groups(
    patients: pd.DataFrame,  # of `neighbourhoods`, with a column `patient`
    groups: Mapping[str, str],  # patient -> group
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the `log2_ratio` of each pair of types between groups of patients. The patients count, not their cells.

    One row per pair of types and pair of groups: numbers of patients (those who have cells of both types), `effect`
    (mean of `group` less mean of `versus`), its 95 % interval by bootstrap over patients, `p` of a permutation of the
    patients over the two groups (exact if there are up to 9999 ways), and `q`, corrected for the number of rows by
    Benjamini and Hochberg. Interval and p need two patients in each group. Raises `UserError` for a single group.
    """
    names = sorted({groups[p] for p in patients["patient"].unique() if p in groups})
    if len(names) < 2:
        raise UserError(f"the patients are all in {names[0] if names else 'no group'!r}: two groups can be compared.")
    table = patients.assign(group=patients["patient"].map(groups)).dropna(subset=["group", "log2_ratio"])
    order = list(dict.fromkeys(patients["from"]))
    rows = []
    for source, target in ((a, b) for i, a in enumerate(order) for b in order[i:]):
        of_pair = table[(table["from"] == source) & (table["to"] == target)]
        values = {g: of_pair["log2_ratio"].to_numpy()[of_pair["group"] == g] for g in names}
        for group, versus in combinations(names, 2):
            compared = _compared(values[group], values[versus], seed)
            rows.append({"from": source, "to": target, "group": group, "versus": versus, **compared})
    result = pd.DataFrame(rows)
    return result.assign(q=corrected(result["p"].to_numpy()))


def _compared(a: np.ndarray, b: np.ndarray, seed: int) -> dict[str, float]:
    row = {"patients": len(a), "patients_versus": len(b), "effect": np.nan, "low": np.nan, "high": np.nan, "p": np.nan}
    if len(a) and len(b):
        row["effect"] = float(_difference(a, b))
    if min(len(a), len(b)) >= _FEWEST:
        how = {"vectorized": True, "n_resamples": _RESAMPLES, "rng": np.random.default_rng(seed)}
        interval = bootstrap((a, b), _difference, method="percentile", **how).confidence_interval
        row |= {"low": float(interval.low), "high": float(interval.high)}
        row["p"] = float(permutation_test((a, b), _difference, **how).pvalue)
    return row


def _difference(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return a.mean(axis=axis) - b.mean(axis=axis)


def too_few(groups: Iterable[str]) -> list[str]:
    """A sentence for each pair of groups with so few patients that no difference can be significant."""
    n = pd.Series(list(groups)).value_counts().sort_index().to_dict()
    sentences = []
    for a, b in combinations(n, 2):
        smallest = min(1.0, 2 / comb(n[a] + n[b], n[a]))
        if min(n[a], n[b]) < _FEWEST:
            consequence = f"a comparison needs {_FEWEST} patients in each group"
        elif smallest >= LEVEL:
            consequence = f"the smallest possible p is {smallest:.2g}, so that no difference can be shown"
        else:
            continue
        sentences.append(f"{a} ({_patients(n[a])}) and {b} ({_patients(n[b])}): {consequence}")
    return sentences


def _patients(n: int) -> str:
    return f"{n} patient{'s' * (n != 1)}"
