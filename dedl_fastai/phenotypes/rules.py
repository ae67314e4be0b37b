"""Phenotype rules as data: `tfh217 = CD19- CD4+ CXCR5+ PD1+ CXCR3-`, read from top to bottom, one class per cell."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..io.texts import read_text
from .terms import GRAMMAR, Term, parse_word

PRESETS = ("tfh5", "vanburen3")


@dataclass(frozen=True)
class Rules:
    """Ordered classes, each with the terms that must hold (True) or not (False).

    A term is a marker, of which cells are positive, or a level of it between or above two cut-offs: CD4dim, CD4bright.
    CD4@ring is measured in the ring around the nucleus.
    """

    classes: dict[str, dict[str, bool]]
    text: str

    @classmethod
    def load(cls, source: str | Path) -> "Rules":
        """Read rules from a preset (tfh5, vanburen3) or a text file. Raises `UserError` with the line that is wrong."""
        if str(source) in PRESETS:
            return cls.parse((files(__package__) / "rules" / f"{source}.txt").read_text(encoding="utf-8"))
        return cls.parse(read_text(source), str(source))

    @classmethod
    def parse(cls, text: str, name: str = "rules") -> "Rules":
        """Parse rules from text; `#` starts a comment."""
        classes: dict[str, dict[str, bool]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            body = line.split("#", 1)[0].strip()
            if not body:
                continue
            label, equals, words = (part.strip() for part in body.partition("="))
            parsed = [parse_word(word) for word in words.split()]
            terms = [p for p in parsed if p is not None]
            if not (label and equals and len(terms) == len(parsed)) or label in classes:
                raise UserError(
                    f"{name}, line {number}: {body!r} is not a rule with a new class, such as 'b = CD19+ CD4-'. "
                    f"{GRAMMAR}."
                )
            classes[label] = {str(term): sign for term, sign in terms}
        if not classes:
            raise UserError(f"{name} holds no rule: write lines such as 'b = CD19+ CD4-'.")
        return cls(classes, text)

    @property
    def terms(self) -> list[Term]:
        """All terms in the rules, in order of appearance."""
        return [Term.of(t) for t in dict.fromkeys(t for terms in self.classes.values() for t in terms)]

    @property
    def markers(self) -> list[str]:
        """All markers in the rules, in order of appearance, with the compartment if it is given."""
        return list(dict.fromkeys(term.marker for term in self.terms))

    @property
    def with_two_cuts(self) -> list[str]:
        """The markers that the rules ask to be dim or bright, which takes two cut-offs."""
        return list(dict.fromkeys(term.marker for term in self.terms if term.level))

    def classify(self, positive: pd.DataFrame) -> pd.Series:
        """Class of each cell from boolean columns named as the terms (any case); "" if no rule applies."""
        columns = {c.upper(): c for c in positive.columns}
        missing = [t for t in map(str, self.terms) if t.upper() not in columns]
        if missing:
            raise UserError(f"the rules need the marker {missing[0]}; the table has {', '.join(positive.columns)}.")
        result = np.full(len(positive), "", dtype=object)
        for name, terms in self.classes.items():
            fits = result == ""
            for term, sign in terms.items():
                fits &= positive[columns[term.upper()]].to_numpy(bool) == sign
            result[fits] = name
        return pd.Series(result, index=positive.index, name="phenotype")
