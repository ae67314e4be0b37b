"""`Agreement`: cut-offs beside the phenotypes that the tables themselves give to their cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..phenotypes.classify import CellClasses, classes_by_phenotype, has_phenotypes, plain_class
from ..phenotypes.gates.gates import Gates
from ..phenotypes.marker_levels import levels_of
from ..phenotypes.rules import Rules
from ..scores.cell_types import confusion_matrix, kappa, overall_scores
from .cell_sources import CellSource


class Above(NamedTuple):
    """How many cells of a phenotype there are, and how many of them are above a cut-off."""

    cells: int
    above: int


@dataclass(frozen=True)
class Agreement:
    """The phenotypes of the tables, their cells above each cut-off, and their types by rules."""

    vocab: list[str]
    above: dict[str, dict[str, Above]]  # marker -> phenotype
    confusion: np.ndarray | None = None  # (K, K + 1) phenotypes and types by rules; the last column: another type, none

    @classmethod
    def of(cls, gates: Gates, sources: Sequence[CellSource], rules: Rules | None = None) -> "Agreement | None":
        """Compare gates, and the types by rules whose classes are named as the phenotypes; None without phenotypes."""
        having = [s for s in sources if has_phenotypes(s.table)]
        if not having:
            return None
        given = classes_by_phenotype({s.name: s.table for s in having})
        above = {m: _above(gates, m, having, given) for m in gates.markers}
        spelt = gates.spelt_as(rules.markers) if rules else gates
        classes = set(map(plain_class, rules.classes)) if rules else set()
        if rules is None or not classes & set(given.vocab) or not set(rules.markers) <= set(spelt.markers):
            return cls(given.vocab, above)
        parts = [_confusion(spelt, s, rules, given) for s in having]
        return cls(given.vocab, above, np.sum(parts, axis=0))

    @property
    def sentence(self) -> str:
        """How far the types by rules agree with the phenotypes; "" without them."""
        if self.confusion is None:
            return ""
        scores = overall_scores(self.confusion)
        return (
            f"types by the rules agree with the phenotypes of the tables in {scores['accuracy']:.1%} of {scores['n']} "
            f"cells: macro-F1 {scores['f1_macro']:.3f}, kappa {kappa(self.confusion):.3f}"
        )

    def of_marker(self, marker: str) -> str:
        """How many cells of each phenotype are above the cut-off of a marker."""
        return ", ".join(f"{n.above} of {n.cells} {name}" for name, n in self.above[marker].items())


def _above(gates: Gates, marker: str, sources: Sequence[CellSource], given: CellClasses) -> dict[str, Above]:
    names = np.concatenate([given.classes[s.name].to_numpy(str) for s in sources])
    is_above = np.concatenate([gates.levels(s.table, marker, s.origin)[marker] for s in sources])
    return {name: Above(int((names == name).sum()), int(is_above[names == name].sum())) for name in given.vocab}


def _confusion(gates: Gates, source: CellSource, rules: Rules, given: CellClasses) -> np.ndarray:
    """Counts of the cells with a phenotype by phenotype and by type."""
    types = rules.classify(levels_of(source.table, source.name, rules, gates=gates, origin=source.origin))
    types = types.map(plain_class)
    truth = given.classes[source.name]
    has_phenotype = truth.to_numpy() != ""
    codes = (pd.Categorical(of_cells, categories=list(given.vocab)).codes for of_cells in (truth, types))
    true, found = (c[has_phenotype].astype(np.int64) for c in codes)
    return confusion_matrix(true, found, len(given.vocab))
