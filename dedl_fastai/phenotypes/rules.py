"""Phenotype rules as data: `tfh217 = CD19- CD4+ CXCR5+ PD1+ CXCR3-`, read from top to bottom, one class per cell."""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..io.files import existing_file

PRESETS = ("tfh5", "vanburen3")
_MARKER = re.compile(r"([\w.-]*\w)([+-])")


@dataclass(frozen=True)
class Rules:
    """Ordered classes, each with the markers that must be positive (True) or negative (False)."""

    classes: dict[str, dict[str, bool]]
    text: str

    @classmethod
    def load(cls, source: str | Path) -> "Rules":
        """Read rules from a preset (tfh5, vanburen3) or a text file. Raises `UserError` with the line that is wrong."""
        if str(source) in PRESETS:
            return cls.parse((files(__package__) / "rules" / f"{source}.txt").read_text(encoding="utf-8"))
        return cls.parse(existing_file(source).read_text(encoding="utf-8"), str(source))

    @classmethod
    def parse(cls, text: str, name: str = "rules") -> "Rules":
        """Parse rules from text; `#` starts a comment."""
        classes: dict[str, dict[str, bool]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            body = line.split("#", 1)[0].strip()
            if not body:
                continue
            label, equals, markers = (part.strip() for part in body.partition("="))
            words = markers.split()
            signs = [match for word in words if (match := _MARKER.fullmatch(word))]
            if not (label and equals and len(signs) == len(words)) or label in classes:
                raise UserError(
                    f"{name}, line {number}: {body!r} is not a rule with a new class, such as 'b = CD19+ CD4-'."
                )
            classes[label] = {m[1].upper(): m[2] == "+" for m in signs}
        if not classes:
            raise UserError(f"{name} holds no rule: write lines such as 'b = CD19+ CD4-'.")
        return cls(classes, text)

    @property
    def markers(self) -> list[str]:
        """All markers in the rules, in order of appearance."""
        return list(dict.fromkeys(m for markers in self.classes.values() for m in markers))

    def classify(self, positive: pd.DataFrame) -> pd.Series:
        """Class of each cell from boolean columns named as the markers (any case); "" if no rule applies."""
        columns = {c.upper(): c for c in positive.columns}
        missing = [m for m in self.markers if m not in columns]
        if missing:
            raise UserError(f"the rules need the marker {missing[0]}; the table has {', '.join(positive.columns)}.")
        result = np.full(len(positive), "", dtype=object)
        for name, markers in self.classes.items():
            fits = result == ""
            for marker, sign in markers.items():
                fits &= positive[columns[marker]].to_numpy(bool) == sign
            result[fits] = name
        return pd.Series(result, index=positive.index, name="phenotype")
