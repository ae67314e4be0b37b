"""`FieldView`: one field of a folder of results as the page shows it: layers, outlines, cells, corrections."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..io.corrections import Action
from ..io.outlines import cell_polygons
from ..predict.corrections import types_of
from ..predict.edited_labels import EditedLabels, box_of_points, clipped, grown
from ..predict.kinds import KINDS
from ..predict.overlay import NO_CLASS, NO_RULES, class_colors
from ..predict.record import Record
from .cells import Cells
from .corrector import Corrector
from .kept import Kept
from .layers import Layers
from .pictures import Shown, composite, dots, outlines
from .pyramid import NEAR, TILE, n_levels
from .stamps import stamp_of

_NEARLY = 0.99  # what is ready while the table of cells is read
_POSITIVE, _NEGATIVE = (255, 220, 60), (110, 110, 120)  # colours of nuclei while a cut-off is moved


def _looked_up(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Entries of a table by id, as integers; 0 for ids beyond its end."""
    inside = ids < len(table)
    found = np.zeros(len(ids), np.int64)
    found[inside] = table[ids[inside]]
    return found


class FieldView:
    """A field on the page. Files are opened when they are needed; safe in threads."""

    def __init__(self, folder: Path, record: Record, kept: Kept):
        self.folder, self.name, self._kept = folder, str(record["field"]), kept
        self.record = record  # another one when tables and counts were changed
        self._opening = threading.RLock()
        self._layers: Layers | None = None
        self._cells: Cells | None = None
        self._corrector: Corrector | None = None

    @property
    def layers(self) -> Layers:
        """The channels of the image, and the uncertainty if `predict` wrote it."""
        with self._opening:
            if self._layers is None:
                size = self.record["settings"].get("pixel_size_um") or None
                uncertainty = self.folder / f"{self.name}{KINDS['uncertainty'].ending}"
                self._layers = Layers(Path(self.record["image"]), size, uncertainty, self._kept)
            return self._layers

    @property
    def cells(self) -> Cells:
        """The table of cells, read again when another process has written it."""
        path = self.folder / f"{self.name}{KINDS['cells'].ending}"
        with self._opening:
            if self._cells is None or self._cells.stamp != stamp_of(path):
                self._cells = Cells(path)
            return self._cells

    @property
    def corrector(self) -> Corrector:
        """The corrections. Raises `UserError` if there are no labels to correct."""
        with self._opening:
            if self._corrector is None:
                self._corrector = Corrector(self.folder, self.name)
            return self._corrector

    def labels(self) -> EditedLabels:
        """The corrected labels."""
        return self.corrector.corrected.labels

    def about(self) -> dict[str, Any]:
        """What the page needs to show the field."""
        height, width = self.layers.shape
        return {
            "name": self.name,
            "height": height,
            "width": width,
            "tile": TILE,
            "levels": n_levels(self.layers.shape),
            "um_per_px": self.layers.pixel_size_um,
            "layers": self.layers.described(),
            "has_probability": self.cells.has_probability,
            **self.state(),
        }

    def state(self) -> dict[str, Any]:
        """The state of the corrections, or why there can be none."""
        try:
            self.corrector.refresh()
        except UserError as e:
            nothing = {
                "revision": 0,
                "can_undo": False,
                "can_redo": False,
                "n_corrections": 0,
                "checks": [],
                "types": [],
            }
            return {**nothing, "table": self.cells.version, "trouble": str(e)}
        corrected = self.corrector.corrected
        checks = [a for a in corrected.actions if a.action in ("check", "uncheck")]
        return {
            "revision": corrected.revision,
            "table": self.cells.version,
            "can_undo": corrected.can_undo,
            "can_redo": corrected.can_redo,
            "n_corrections": len(corrected.actions),
            "checks": [{"action": a.action, "points": a.points} for a in checks],
            "types": [{"name": name, "color": color} for name, color in self._colors().items()],
        }

    def done(self, layers: list[int]) -> float:
        """How much of what these layers and the outlines need is read, from 0 to 1."""
        done = self.layers.done(layers)
        return done if self.cells.is_ready else min(done, _NEARLY)

    def _colors(self) -> dict[str, tuple[int, int, int]]:
        given = types_of(self.corrector.corrected.actions).values()
        return class_colors(list(dict.fromkeys([*self.record["phenotypes"], *given])))

    def tile(self, level: int, x: int, y: int, shown: Sequence[Shown]) -> bytes:
        """A JPEG of the layers that are shown."""
        rows, columns = self._tile_shape(level, x, y)
        planes = [self.layers.tile(s.layer, level, x=x, y=y) for s in shown]
        return composite(planes, shown, (rows, columns))

    def _tile_shape(self, level: int, x: int, y: int) -> tuple[int, int]:
        """Rows and columns of a tile. Raises `UserError` for a place outside the field."""
        height, width = (-(-n // (1 << level)) for n in self.layers.shape)
        if not (0 <= level <= n_levels(self.layers.shape) and 0 <= x * TILE < width and 0 <= y * TILE < height):
            raise UserError(f"the field {self.name!r} has no tile {x}, {y} at level {level}.")
        return min(TILE, height - y * TILE), min(TILE, width - x * TILE)

    def outlines(self, level: int, x: int, y: int, is_positive: np.ndarray | None = None) -> bytes:
        """A PNG of the outlines of nuclei, or of dots in their places where they are too small for outlines.

        They have the colours of their types, or of positive and negative cells if these are given, by label.
        """
        shape = self._tile_shape(level, x, y)
        if level > NEAR:
            return self._dots(level, (x, y), shape, is_positive)
        step = 1 << level
        box = (y * TILE * step, x * TILE * step, (y * TILE + shape[0]) * step, (x * TILE + shape[1]) * step)
        labels = self.labels()
        part = labels.read(clipped(box, labels.shape))[::step, ::step]
        return outlines(np.pad(part, 1, mode="edge"), self._colors_of(is_positive))

    def _dots(
        self, level: int, place: tuple[int, int], shape: tuple[int, int], is_positive: np.ndarray | None
    ) -> bytes:
        cells = self.cells
        cells.wait()
        left, top = place[0] * TILE, place[1] * TILE
        label, row, column = cells.inside((top, left, top + shape[0], left + shape[1]), level)
        alpha = max(255 >> (level - NEAR), 24)  # the more they overlap, the fainter
        return dots((row, column), self._colors_of(is_positive)(label), shape, alpha)

    def _colors_of(self, is_positive: np.ndarray | None) -> Callable[[np.ndarray], np.ndarray]:
        """A function that returns the colours of nuclei, as uint8 (n, 3), by their types or by a cut-off."""
        if is_positive is not None:
            return lambda ids: np.array([_NEGATIVE, _POSITIVE], np.uint8)[_looked_up(is_positive, ids)]
        cells = self.cells
        cells.wait()
        colors = self._colors()
        names = list(dict.fromkeys([*cells.types, *colors]))
        rest = NO_CLASS if self.record["phenotypes"] else NO_RULES
        table = np.array([rest, *(colors.get(name, rest) for name in names)], np.uint8)
        given = types_of(self.corrector.corrected.actions)
        codes = cells.type_codes
        if given:
            codes = np.pad(codes, (0, max(0, max(given) + 1 - len(codes))))
            codes[list(given)] = [names.index(name) + 1 for name in given.values()]
        return lambda ids: table[_looked_up(codes, ids)]

    def at(self, x: float, y: float) -> dict[str, Any]:
        """The nucleus at a place: its id, type, outline, and its row in the table of cells; only the id 0 elsewhere."""
        labels, corrected = self.labels(), self.corrector.corrected
        newer = [a for a in corrected.actions if a.revision > self.record.get("corrected", 0)]
        if not (0 <= x < labels.shape[1] and 0 <= y < labels.shape[0]):
            return {"label": 0}
        place = box_of_points(np.array([[x, y]]))
        label = int(labels.read(place)[0, 0])
        if not label:
            return {"label": 0}
        box = clipped(grown(labels.box_of(label, place), 1), labels.shape)
        mask = labels.read(box) == label
        _, ring = next(cell_polygons(mask.astype(np.uint8), simplify=0.25))
        cells = self.cells
        cells.wait()
        row = cells.row(label)
        given = types_of(corrected.actions)
        return {
            "label": label,
            "type": given.get(label, row.get("phenotype", "")),
            "outline": [[round(px + box[1], 2), round(py + box[0], 2)] for py, px in ring.tolist()],
            "area_px": int(mask.sum()),
            "is_changed": any(label in a.labels for a in newer if a.action in ("merge", "split", "draw")),
            "row": row,
        }

    def act(self, action: Action, after: int) -> dict[str, Any]:
        """Apply a correction that follows revision `after`, and return the state."""
        done = self.corrector.act(action, after)
        return {**self.state(), "labels": done.labels}

    def close(self) -> None:
        """Write what is not written, and close the files."""
        if self._corrector is not None:
            self._corrector.close()
        if self._layers is not None:
            self._layers.close()
