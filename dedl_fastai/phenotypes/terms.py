"""Words of rules: `CD4+`, `CD4@ring-`, `CD4bright`. A marker, its level, where it is measured, and a sign."""

import re
from typing import NamedTuple

from .columns import COMPARTMENTS

LEVELS = ("dim", "bright")  # between the two cut-offs of a marker, and above the second one
_WORD = re.compile(rf"([\w.-]*?\w)({'|'.join(LEVELS)})?(?:@({'|'.join(COMPARTMENTS)}))?([+-]?)", re.IGNORECASE)
GRAMMAR = (
    f"Words are CD4+, CD4-, CD4bright or CD4dim (cells above or between two cut-offs), and CD4@ring+ to measure in a "
    f"compartment ({', '.join(COMPARTMENTS)})"
)


class Term(NamedTuple):
    """What a cell is asked for: a marker (with its compartment, if given) and a level ("" for positive)."""

    marker: str  # CD4, or CD4@ring
    level: str = ""

    def __str__(self) -> str:
        name, at, compartment = self.marker.partition("@")
        return f"{name}{self.level}{at}{compartment}"

    @classmethod
    def of(cls, text: str) -> "Term":
        """The term that `str` gave."""
        parsed = parse_word(f"{text}+")
        assert parsed is not None, text
        return parsed[0]


def parse_word(word: str) -> tuple[Term, bool] | None:
    """The term of a word and its sign, or None for a word that is neither positive nor negative, or no word."""
    match = _WORD.fullmatch(word)
    if match is None or not (match[2] or match[4]):
        return None
    marker = match[1].upper() + (f"@{match[3].lower()}" if match[3] else "")
    return Term(marker, (match[2] or "").lower()), match[4] != "-"
