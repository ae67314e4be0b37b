"""`FieldBags`: the cells of fields and tiles as features, found by a segmentation run and kept in the cache."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..cells.features import INTENSITIES, cell_features, length_unit
from ..data.cache import cache_folder, cached_array
from ..data.classification.items import ClfItem
from ..errors import UserError
from ..io.fields.readers import open_field
from ..training.run_folder import RunFolder
from .field_cells import FieldModel, predict_field

log = logging.getLogger(__name__)

RING_UM = 2.0  # width of the ring around a nucleus that is measured
_VERSION = "cells of a field 1"


@dataclass
class FieldBags:
    """Measurements of the nuclei that a segmentation run finds in an image."""

    seg: str  # run folder, or nuclei: the model that comes with the package
    load: Callable[[str], FieldModel]  # loads the run, which is needed unless all cells are in the cache
    channels: tuple[str, ...]  # that are measured
    seg_channel: str = ""  # in which nuclei are found; default: as in the run's training
    trained_with: str = ""  # digest of the weights of `seg` when the classifier was trained; "": not known
    known: dict[str, np.ndarray] = field(default_factory=dict)  # image -> rows of all its cells
    model: FieldModel | None = None

    def of_items(self, items: Sequence[ClfItem], intensities: str) -> list[np.ndarray]:
        """The cells (n, F) of each item: those of the field, or with their centre in the tile."""
        return [self.of_tile(i.image, (i.y, i.x), i.tile, intensities) for i in items]

    def of_tile(self, image: str | Path, corner: tuple[int, int], tile: int, intensities: str) -> np.ndarray:
        """The cells (n, F) with their centre in a tile of an image; tile=0 for the whole image."""
        rows = self._rows(image)
        if tile:
            inside = ((rows[:, :2] >= corner) & (rows[:, :2] < np.add(corner, tile))).all(axis=1)
            rows = rows[inside]
        k = (rows.shape[1] - 3) // len(INTENSITIES)
        start = 3 + k * INTENSITIES.index(intensities)
        return rows[:, start : start + k]

    def unit(self, image: str | Path) -> str:
        """The unit of lengths of an image with cells: um, or px if its pixel size is unknown; "" without cells."""
        rows = self._rows(image)
        return ("um" if rows[0, 2] else "px") if len(rows) else ""

    def _rows(self, image: str | Path) -> np.ndarray:
        """All cells of an image: y and x in pixels, whether lengths are in um, raw and scaled features."""
        key = str(image)
        if key not in self.known:
            settings = [_VERSION, self.digest, self.seg_channel, RING_UM, list(self.channels)]
            entry, _ = cached_array(image, settings, cache_folder(), lambda: self._measured(image))
            self.known[key] = np.load(entry)[1:]
        return self.known[key]

    @cached_property
    def digest(self) -> str:
        """Digest of the weights of the segmentation run; a warning says if it was trained again meanwhile."""
        path = RunFolder.existing(self.seg).path / "best.safetensors"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if self.trained_with not in ("", digest):
            log.warning("%s has other weights than those that the classifier was trained with", self.seg)
        return digest

    def _measured(self, image: str | Path) -> np.ndarray:
        """The rows of `_rows`, below one of zeros, so that an image without cells has an array too."""
        if self.model is None:
            self.model = self.load(self.seg)
        named = [self.seg_channel] if self.seg_channel else []
        with (
            open_field(image) as opened,
            predict_field(self.model, opened, channels=named, ring_um=RING_UM, keep=()) as found,
        ):
            cells = found.cells
            features = [cell_features(cells, self.channels, i).to_numpy(np.float32) for i in INTENSITIES]
            places = cells[["y_px", "x_px"]].to_numpy(np.float32)
            in_um = np.full((len(cells), 1), float(length_unit(cells) == "um"), np.float32)
        rows = np.hstack([places, in_um, *features])
        return np.vstack([np.zeros((1, rows.shape[1]), np.float32), rows])


def check_unit(unit: str, own: str, image: str | Path) -> None:
    """Raise a `UserError` if lengths of an image are in another unit than those of the training fields."""
    if unit and own and unit != own:
        raise UserError(
            f"{image}: the areas of its cells are in {unit}, and those of the training fields in {own}: the pixel size "
            f"of all fields or of none must be known."
        )
