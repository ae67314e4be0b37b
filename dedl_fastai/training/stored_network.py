"""`StoredNetwork`: the network of a run folder, which is built when it is needed; and `load_model`."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .model_card import WEIGHT_FILES, read_card, with_thresholds_of
from .run_folder import RunFolder

if TYPE_CHECKING:  # a network that was converted before is used without the libraries that build it
    import torch
    from torch import nn


@dataclass(frozen=True)
class StoredNetwork:
    """A file of weights and the model.json next to it; calling it builds the network."""

    file: Path  # .safetensors
    card: dict[str, Any]  # with the thresholds of these weights

    @classmethod
    def of(cls, run: RunFolder, which: str = "best") -> "StoredNetwork":
        """The best, last or swa weights of a run. Raises `UserError` if it has none, or classifies single cells."""
        card = with_thresholds_of(read_card(run), which)
        if card["task"] == "cells":
            raise UserError(
                f"{run.path} classifies single cells: give it as `cell_types`, next to a segmentation run that finds "
                "them."
            )
        file = run.path / f"{which}.safetensors"
        if which not in WEIGHT_FILES or not file.is_file():
            available = [w for w in WEIGHT_FILES if (run.path / f"{w}.safetensors").is_file()]
            raise UserError(f"{run.path} has no weights {which!r}: it has {', '.join(available) or 'none'}.")
        return cls(file, card)

    def __call__(self) -> "nn.Module":
        """Build the network in eval mode, on the CPU. Raises `UserError` if the files are damaged."""
        try:
            return _rebuilt(self.card, self.tensors()).eval()
        except RuntimeError as e:
            message = f"{self.file} does not fit the model.json next to it: they are from different runs."
            raise UserError(message) from e
        except UserError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as e:
            path = self.file.with_name("model.json")
            raise UserError(f"{path} is damaged ({type(e).__name__}: {e}): restore it.") from e

    def tensors(self) -> "dict[str, torch.Tensor]":
        """Read the weights by their names. Raises `UserError` if the file is damaged, or a weight is not finite."""
        from ..models.weights import read_tensors

        tensors = read_tensors(self.file)
        bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
        if bad:
            raise UserError(
                f"{self.file} has NaN or infinite weights ({bad[0]}): train the run again, or take other weights."
            )
        return tensors

    def digest(self) -> str:
        """Return a digest of the weights and of the layers that they are for."""
        layers = json.dumps(self.card["network"], sort_keys=True).encode()
        return hashlib.sha256(layers + self.file.read_bytes()).hexdigest()


def load_model(run: RunFolder, which: str = "best") -> tuple["nn.Module", dict[str, Any]]:
    """The network of a run in eval mode with its best, last or swa weights, and its model.json."""
    stored = StoredNetwork.of(run, which)
    return stored(), stored.card


def _rebuilt(card: dict[str, Any], tensors: dict[str, "torch.Tensor"]) -> "nn.Module":
    if card["task"] == "segmentation":
        from ..models.segmentation import SegSpec, rebuild_seg_model

        return rebuild_seg_model(SegSpec.from_dict(card["network"]), tensors, card["tile"])
    if "cells" in card:
        from ..models.cell_bags import BagsSpec, rebuild_cell_bags

        return rebuild_cell_bags(BagsSpec.from_dict(card["network"]), tensors)
    from ..models.classification import ClfSpec, rebuild_clf_model

    return rebuild_clf_model(ClfSpec.from_dict(card["network"]), tensors)
