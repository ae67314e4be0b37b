"""`CellsClassifier`: a classification model that predicts the classes of image files from their cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from ..data.classification.items import ClfItem
from ..data.classification.tile_labels import tile_corners
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from .classifier import Classifier
from .field_bags import FieldBags, check_unit
from .field_cells import FieldModel


@dataclass
class CellsClassifier(Classifier):
    """`CellBags` and its model.json. Nuclei are found and measured first; the verbs are those of `Classifier`."""

    sees_pictures: ClassVar[bool] = False
    load: Callable[[str], FieldModel] | None = None  # loads the segmentation run that finds the nuclei

    def __post_init__(self):
        super().__post_init__()
        cells = self.card["cells"]
        assert self.load is not None
        digest = cells.get("seg_digest", "")  # earlier versions did not keep it
        how = {"seg_channel": cells["seg_channel"], "trained_with": digest}
        self.bags = FieldBags(cells["seg"], self.load, tuple(cells["channels"]), **how)

    def probabilities(self, pictures: Sequence[np.ndarray | ClfItem] | np.ndarray) -> np.ndarray:
        """(N, K) probabilities of items of the DataBlock."""
        items = [p for p in pictures if isinstance(p, ClfItem)]
        if len(items) < len(pictures):
            raise TypeError("a classifier of fields by their cells needs items, not pictures")
        return self._probabilities([self._bag(i.image, (i.y, i.x)) for i in items])

    def probability(self, field: str | Path | Field) -> dict[str, float]:
        """Class -> probability for an image file; for a model of tiles, the maximum over the tiles."""
        path, corners = field.path if isinstance(field, Field) else field, [(0, 0)]
        if self.facts.tile:
            with open_field(path) as opened:
                corners = tile_corners(opened.shape, self.facts.tile)
        p = self._probabilities([self._bag(path, corner) for corner in corners]).max(axis=0)
        return dict(zip(self.classes, map(float, p), strict=True))

    def _bag(self, image: str | Path, corner: tuple[int, int]) -> np.ndarray:
        check_unit(self.bags.unit(image), self.card["cells"]["unit"], image)
        return self.bags.of_tile(image, corner, self.facts.tile, self.card["cells"]["intensities"])

    @torch.inference_mode()
    def _probabilities(self, bags: Sequence[np.ndarray]) -> np.ndarray:
        if not bags:
            return np.zeros((0, len(self.classes)), np.float32)
        cells, bag = as_tensors(bags, self.device)
        return self.model(cells, bag, len(bags)).sigmoid().mean(dim=0).cpu().numpy()


def as_tensors(bags: Sequence[np.ndarray], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The cells of all bags (N, F), and the bag of each (N,)."""
    owner = np.repeat(np.arange(len(bags)), [len(b) for b in bags])
    return torch.from_numpy(np.concatenate(bags)).to(device), torch.from_numpy(owner).to(device)
