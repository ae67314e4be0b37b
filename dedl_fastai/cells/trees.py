"""`Trees`: a forest or boosted trees as plain arrays, which predict without the library and pickles of the training."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..errors import UserError

SUMS = ("mean", "softmax")  # of a forest: the mean of the leaves; boosted: the softmax of their sum


@dataclass(frozen=True)
class Trees:
    """Nodes of all trees, one after another; a leaf is its own child.

    A sample goes to the left child if its feature is at most the threshold, which is not so for NaN. `value` has one
    column per class, and `start` the sum that the trees add to.
    """

    roots: np.ndarray  # (T,) int32, index of the first node of each tree
    feature: np.ndarray  # (M,) int32
    threshold: np.ndarray  # (M,) float64
    left: np.ndarray  # (M,) int32
    right: np.ndarray  # (M,) int32
    value: np.ndarray  # (M, K) float32
    start: np.ndarray  # (K,) float64

    def probabilities(self, x: np.ndarray, sums: str) -> np.ndarray:
        """Return the probabilities (N, K) of samples (N, F), which are compared as float32, as scikit-learn does."""
        x = np.ascontiguousarray(x, dtype=np.float32)
        total = np.tile(self.start, (len(x), 1))
        rows = np.arange(len(x))
        for root in self.roots:
            node = np.full(len(x), root)
            while True:
                goes_left = x[rows, self.feature[node]] <= self.threshold[node]
                below = np.where(goes_left, self.left[node], self.right[node])
                if (below == node).all():
                    break
                node = below
            total += self.value[node]
        return total / len(self.roots) if sums == "mean" else softmax(total)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, as they are stored."""
        return {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> "Trees":
        """The inverse of `tensors`. Raises `UserError` if arrays are missing or do not fit together."""
        try:
            trees = cls(**{f.name: np.asarray(tensors[f.name]) for f in fields(cls)})
        except KeyError as e:
            raise UserError(f"these are no trees: the array {e.args[0]!r} is missing.") from e
        m = len(trees.feature)
        if any(len(a) != m for a in (trees.threshold, trees.left, trees.right, trees.value)):
            raise UserError("these are no trees: their arrays have different lengths.")
        for index, own in ((trees.left, True), (trees.right, True), (trees.roots, False)):
            is_ahead = index >= np.arange(m) if own else index >= 0  # no circles
            if not (is_ahead & (index < m)).all():
                raise UserError("these are no trees: a node has a child that does not follow it.")
        return trees

    @classmethod
    def constant(cls) -> "Trees":
        """A tree of one leaf, for a single class, which is always right."""
        one = np.zeros(1, np.int32)
        return _tree(one, one, left=one - 1, right=one - 1, value=np.ones((1, 1)))

    @classmethod
    def joined(cls, parts: list["Trees"], start: np.ndarray) -> "Trees":
        """Return the trees of all parts as one."""
        offsets = np.cumsum([0, *(len(p.feature) for p in parts[:-1])])

        def moved(name: str) -> np.ndarray:
            return np.concatenate([getattr(p, name) + o for p, o in zip(parts, offsets, strict=True)]).astype(np.int32)

        plain = {n: np.concatenate([getattr(p, n) for p in parts]) for n in ("feature", "threshold", "value")}
        return cls(moved("roots"), left=moved("left"), right=moved("right"), start=start, **plain)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def forest_trees(forest: Any) -> Trees:
    """The trees of scikit-learn's `RandomForestClassifier` or `ExtraTreesClassifier`; their probabilities average."""
    parts = []
    for tree in (e.tree_ for e in forest.estimators_):
        value = tree.value[:, 0] / tree.value[:, 0].sum(axis=1, keepdims=True)
        parts.append(_tree(tree.feature, tree.threshold, tree.children_left, tree.children_right, value=value))
    return Trees.joined(parts, np.zeros(len(forest.classes_)))


def boosted_trees(model: Any) -> Trees:
    """The trees of scikit-learn's `HistGradientBoostingClassifier`.

    scikit-learn has no public access to them: whether the arrays mean what is expected here has to be checked on data.
    """
    k = len(model.classes_)
    base = np.ravel(model._baseline_prediction)
    parts = []
    for iteration in model._predictors:
        for column, predictor in enumerate(iteration):
            nodes = predictor.nodes
            value = np.zeros((len(nodes), k))
            value[:, column if len(iteration) > 1 else 1] = nodes["value"]  # two classes have one tree, of the second
            left, right = (np.where(nodes["is_leaf"], -1, nodes[side].astype(np.int64)) for side in ("left", "right"))
            parts.append(_tree(nodes["feature_idx"], nodes["num_threshold"], left, right, value=value))
    return Trees.joined(parts, base if k > 2 else np.array([0.0, base[0]]))


def _tree(feature: np.ndarray, threshold: np.ndarray, left: np.ndarray, right: np.ndarray, value: np.ndarray) -> Trees:
    """One tree; a node with the child -1 is a leaf."""
    own = np.arange(len(feature))
    is_leaf = np.asarray(left) < 0
    return Trees(
        roots=np.zeros(1, np.int32),
        feature=np.where(is_leaf, 0, feature).astype(np.int32),
        threshold=np.where(is_leaf, 0, threshold).astype(np.float64),
        left=np.where(is_leaf, own, left).astype(np.int32),
        right=np.where(is_leaf, own, right).astype(np.int32),
        value=value.astype(np.float32),
        start=np.zeros(value.shape[1]),
    )
