"""`fit_measured`: forest and boosted trees on the measurements of labelled cells, validated with patients apart."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold

from ...cells.features import INTENSITIES
from ...cells.trees import Trees, boosted_trees, forest_trees
from ...errors import UserError
from ...inference.cell_types import MeasuredTypes
from ...scores.cell_types import confusion_matrix, overall_scores
from ...scores.confidence import decided, fit_calibration
from ..options.clf import TREES
from .design import Design
from .labelled import RING_UM

log = logging.getLogger(__name__)

KINDS = ("forest", "boosting")
FOLDS = 5  # of the validation
_NEVER = -30.0  # logit of a class that the training cells do not have
_MOST = 50_000  # training cells; of more, this many are drawn


@dataclass(frozen=True)
class Fitted:
    """A kind of trees with the best intensities for it, and its predictions of validation cells."""

    typer: MeasuredTypes
    at: np.ndarray  # (N,) the cells of training and validation fields
    p: np.ndarray  # (N, K) calibrated, each by trees that were fitted to other patients
    f1_macro: float  # of these predictions
    tried: dict[str, float]  # intensities -> F1 macro


def fit_measured(
    design: Design,
    intensities: str = "auto",
    trees: int = TREES,  # of the forest; boosting has half as many rounds
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
) -> dict[str, Fitted]:
    """Fit each kind of trees to the cells of the training and validation fields, the best kind first.

    Validation is by folds over patients, or over strips of the field if there is one patient: each cell is predicted by
    trees that were fitted to other groups. The macro-F1 of these predictions chooses between raw and scaled intensities
    for the first kind, which the others then use too, and orders the kinds; the calibration is fitted to them. Nothing
    is known of other exposures if there is one patient: `auto` is then scaled. Raises `UserError` if the cells have
    fewer than two classes, or are all in one group.
    """
    at = design.usable(("train", "valid"))
    if len(at) > _MOST:
        log.info("%d of %d training cells are drawn", _MOST, len(at))
        at = np.sort(np.random.default_rng(seed).choice(at, _MOST, replace=False))
    if len(np.unique(design.truth(at))) < 2:
        raise UserError("the training cells have fewer than two types: there is nothing to tell apart.")
    considered = list(INTENSITIES) if intensities == "auto" else [intensities]
    if intensities == "auto" and design.cells.by_place:
        considered = ["scaled"]
    fitted: dict[str, Fitted] = {}
    for kind in kinds:
        fitted[kind] = _fitted_kind(design, at, kind, considered=considered, trees=trees, seed=seed)
        considered = [fitted[kind].typer.card["intensities"]]
    return dict(sorted(fitted.items(), key=lambda item: -item[1].f1_macro))


def _fitted_kind(
    design: Design, at: np.ndarray, kind: str, *, considered: Sequence[str], trees: int, seed: int
) -> Fitted:
    y, groups, vocab = design.truth(at), design.keys.group.to_numpy()[at], design.cells.vocab
    k = len(vocab)
    p = {i: _validated(kind, design.x(i)[at], y, groups=groups, k=k, trees=trees, seed=seed) for i in considered}
    tried = {i: _f1_macro(p[i], y) for i in considered}
    best = max(tried, key=lambda i: tried[i])
    log.info("%s: F1 macro %s with patients apart", kind, ", ".join(f"{f:.3f} ({i})" for i, f in tried.items()))
    calibration = fit_calibration(p[best], y)
    arrays, sums = _trees(kind, design.x(best)[at], y, k=k, trees=trees, seed=seed)
    card = {
        "kind": kind,
        "intensities": best,
        "sums": sums,
        "classes": list(vocab),
        "channels": list(design.channels),
        "features": design.names(best),
        "unit": design.unit,
        "ring_um": RING_UM,
        "ring_quartiles": True,
        "calibration": asdict(calibration),
    }
    calibrated = calibration(p[best])
    return Fitted(MeasuredTypes(arrays, card), at, calibrated, f1_macro=_f1_macro(calibrated, y), tried=tried)


def _f1_macro(p: np.ndarray, y: np.ndarray) -> float:
    return overall_scores(confusion_matrix(y, decided(p), p.shape[1]))["f1_macro"]


def _validated(
    kind: str, x: np.ndarray, y: np.ndarray, *, groups: np.ndarray, k: int, trees: int, seed: int
) -> np.ndarray:
    """Probabilities (N, K) of each cell by trees that were fitted to the cells of other groups."""
    n = min(FOLDS, len(set(groups)))
    if n < 2:
        raise UserError("the training cells are all of one patient: another is needed to validate their types.")
    p = np.zeros((len(y), k))
    for train, test in GroupKFold(n, shuffle=True, random_state=seed).split(x, y, groups):
        arrays, sums = _trees(kind, x[train], y[train], k=k, trees=trees, seed=seed)
        p[test] = arrays.probabilities(x[test], sums)
    return p


def _trees(kind: str, x: np.ndarray, y: np.ndarray, *, k: int, trees: int, seed: int) -> tuple[Trees, str]:
    """Fit a kind; its trees have K columns, also for classes that these cells do not have."""
    convert: Callable[[Any], Trees]
    model: Any
    if kind == "forest":
        model = ExtraTreesClassifier(trees, min_samples_leaf=2, max_features=0.3, random_state=seed)
        convert, sums, absent = forest_trees, "mean", 0.0
    else:
        model = HistGradientBoostingClassifier(max_iter=max(1, trees // 2), early_stopping=False, random_state=seed)
        convert, sums, absent = boosted_trees, "softmax", _NEVER
    present = np.unique(y)
    if len(present) == 1:
        return _with_columns(Trees.constant(), present, k=k, absent=0.0), "mean"
    model.fit(x, y)
    arrays, some = convert(model), x[:: max(1, len(x) // 200)]
    if not np.allclose(arrays.probabilities(some, sums), model.predict_proba(some), atol=1e-5):
        raise RuntimeError("this version of scikit-learn stores its trees in a way that is not known here")
    return _with_columns(arrays, present, k=k, absent=absent), sums


def _with_columns(trees: Trees, present: np.ndarray, *, k: int, absent: float) -> Trees:
    """The trees with K columns; the classes that the cells do not have start with `absent`."""
    value, start = np.zeros((len(trees.value), k), np.float32), np.full(k, absent)
    value[:, present], start[present] = trees.value, trees.start
    return replace(trees, value=value, start=start)
