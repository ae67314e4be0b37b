"""`Retyping`: new types for the cells of finished results, by other rules or cut-offs, without predicting again."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..cells.phenotyping import add_phenotypes
from ..errors import UserError
from ..io.fields.field import Field
from ..phenotypes.gates.gates import Gates, Origin
from ..phenotypes.rules import Rules
from .hand_types import untyped, with_hand_types
from .kinds import KINDS
from .record import Record
from .rewriting import Rewriting, Rewritten
from .settings import retyped_settings


class Retyping(Rewriting):
    """A folder of results whose cells get new types by rules and gates; types that were given by hand stay."""

    def __init__(self, out: str | Path, rules: str | Path | Rules = ""):  # default: those of the results
        super().__init__(out)
        self.check(self.records)
        self.rules = rules if isinstance(rules, Rules) else Rules.load(rules) if rules else self._own_rules()

    def _own_rules(self) -> Rules:
        texts = {"\n".join(r["settings"].get("rules", [])) for r in self.records}
        if len(texts) > 1 or not (text := texts.pop()):
            raise UserError(f"{self.out} holds results without rules, or with several: give `rules` for the types.")
        return Rules.parse(text)

    def prepare_types(self, gates: Gates, origins: Mapping[str, Origin]) -> None:
        """Write the files of all fields, with the types that rules and gates give, into hidden folders."""

        def retyped(record: Record, _field: Field) -> Rewritten:
            name = record["field"]
            cells = pd.read_csv(self.out / f"{name}{KINDS['cells'].ending}", float_precision="round_trip")
            own = {name: origins[name]}
            cells = add_phenotypes({name: untyped(cells)}, self.rules, gates=gates, origins=own)[name]
            corrected = record.get("corrected", 0)
            cells = with_hand_types(cells, self.out, name) if corrected else cells
            settings = retyped_settings(record["settings"], self.rules)
            return Rewritten(self.labels(record), cells, settings, corrected)

        self.prepare(self.records, retyped)
