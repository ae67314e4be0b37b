"""`CellBags`: classes of fields from measurements of their cells; a field has a class if some cell has it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from .measurements import Standardising

_NEVER = -1e-6  # largest log-probability that no cell has a class


@dataclass(frozen=True)
class BagsSpec:
    """Everything that determines the shape of `CellBags`; stored in model.json."""

    features: int
    classes: int
    hidden: int = 64
    members: int = 3  # networks with different initial weights, whose probabilities are averaged

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as model.json stores it."""
        return {"model": "cells", **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BagsSpec":
        """Read what `to_dict` gave."""
        return cls(**{name: value for name, value in values.items() if name != "model"})


class CellBags(Standardising):
    """Small networks give each cell a probability of each class; the field's is that of at least one (noisy or).

    They learn from labels of fields alone (multiple-instance learning): no cell needs a type.
    """

    def __init__(self, spec: BagsSpec, cells_per_field: float = 1.0):
        super().__init__(spec.features)
        start = math.log(0.7 / max(1.0, cells_per_field))  # a field then has each class with a probability of a half
        self.members = nn.ModuleList(_member(spec, start) for _ in range(spec.members))

    def forward(self, cells: torch.Tensor, bag: torch.Tensor, n: int) -> torch.Tensor:
        """Return the log-odds (members, n, K) of n fields; `cells` are (N, F), `bag` (N,) their fields."""
        x = self.standardised(cells)
        return torch.stack([_any_cell(member(x), bag, n) for member in self.members])


def _member(spec: BagsSpec, start: float) -> nn.Sequential:
    last = nn.Linear(spec.hidden, spec.classes)
    nn.init.constant_(last.bias, start)
    return nn.Sequential(nn.Linear(spec.features, spec.hidden), nn.ReLU(), nn.Dropout(0.3), last)


def _any_cell(logits: torch.Tensor, bag: torch.Tensor, n: int) -> torch.Tensor:
    """Log-odds (n, K) that at least one cell of a field has a class, from those of its cells (N, K)."""
    none = torch.zeros(n, logits.shape[1], device=logits.device)
    none = none.index_add(0, bag, -nn.functional.softplus(logits)).clamp(max=_NEVER)
    return torch.log(-torch.expm1(none)) - none


def rebuild_cell_bags(spec: BagsSpec, tensors: Mapping[str, torch.Tensor]) -> CellBags:
    """Build the networks that these tensors were saved from. Raises `RuntimeError` if they are of others."""
    model = CellBags(spec)
    model.load_state_dict(tensors)
    return model
