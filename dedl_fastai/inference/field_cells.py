"""`predict_field`: from the pixels of a field or slide of any size to labels and measured cells, in bounded memory.

Tiles are predicted and blended band by band (window.py); nuclei are found in chunks as soon as their rows are there
(chunks.py); cells are measured chunk by chunk from the file. A field of up to 2048 x 2048 pixels is a single chunk.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ..cells.options import NucleiOptions
from ..errors import UserError
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from .chunks import chunk_rows
from .finder import NucleiFinder
from .rolling_rows import RollingRows
from .scratch import Computed, Scratch
from .window import Band, FieldPixels, entropy_bits

_PREDICTED = 0.8  # share of the whole work, for `progress`, when all is predicted
PLANES = ("probability", "uncertainty", "sd")

Progress = Callable[[float], None]  # share done, 0..1


class FieldModel(Protocol):
    """What `predict_field` needs of a model: an `Ensemble`."""

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is a nucleus."""

    def channel_indices(self, field: Field, channels: Sequence[str]) -> list[int]:
        """Indices of the channels that the model sees."""

    def pixels(self, field: Field, channels: Sequence[str]) -> FieldPixels:
        """The field's channels, scaled."""

    def bands(self, pixels: FieldPixels, spread: bool) -> Iterator[Band]:
        """The probability in bands of finished rows, from top to bottom."""


@dataclass
class FieldCells:
    """A predicted field: planes (H, W) to be sliced as `plane[y0:y1, x0:x1]`, and its cells. A context: close it.

    Planes are arrays up to 16 megapixels, and compressed on disk above, until it is closed.
    """

    field: Field
    labels: Any  # int32 ids 1..n of nuclei, 0 is background
    cells: pd.DataFrame  # what `measure_cells` returns
    threshold: float
    field_uncertainty: float  # mean entropy of the probability in bits
    probability: Any = None  # float32, the members' mean; None where it was not kept, as the two below
    uncertainty: Any = None  # entropy of the probability in bits
    sd: Any = None  # over the members
    scratch: Scratch | None = None
    owns_field: bool = False  # opened here, so closed here

    def close(self) -> None:
        """Remove planes on disk, and let go of the file."""
        if self.scratch is not None:
            self.scratch.close()
        if self.owns_field:
            self.field.close()

    def __enter__(self) -> "FieldCells":
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


def predict_field(
    ensemble: FieldModel,
    field: str | Path | Field,  # an image file, or one that is open and stays so
    *,
    channels: Sequence[str] = (),  # what the model's channels are called in this file, if not as in training
    nuclei: NucleiOptions | None = None,
    ring_um: float = 2.0,  # width of the ring round a nucleus that is measured too
    keep: Sequence[str] = ("probability", "uncertainty"),  # planes to keep, and "sd": over the members
    scratch: str | Path | None = None,  # folder for the planes of a slide; None: the system's for temporary files
    progress: Progress | None = None,
) -> FieldCells:
    """Probability, nuclei and measured cells of one field of any size.

    Memory does not grow with the field's height, and by some thousand rows with its width; the table of cells is in
    memory. Raises `UserError` for files that do not read, and for channels and planes that do not exist.
    """
    unknown = [name for name in keep if name not in PLANES]
    if unknown:
        raise UserError(f"there is no plane {unknown[0]!r} to keep: there are {', '.join(PLANES)}.")
    tell = progress or (lambda share: None)
    with ExitStack() as undo:
        owns_field = not isinstance(field, Field)
        field = undo.enter_context(open_field(field)) if owns_field else field
        planes = undo.enter_context(Scratch(scratch))
        finder = NucleiFinder(field, ensemble.channel_indices(field, channels)[0], ensemble.threshold, nuclei, planes)
        kept = {name: planes.plane(name, field.shape, np.float32) for name in _kept(keep)}
        entropy = _find(ensemble, field, channels, finder, kept, lambda share: tell(_PREDICTED * share))
        cells = finder.measured(ring_um, lambda share: tell(_PREDICTED + (1 - _PREDICTED) * share))
        undo.pop_all()
    probability = kept.get("probability")
    return FieldCells(
        field,
        finder.labels,
        cells,
        ensemble.threshold,
        entropy,
        probability=probability if "probability" in keep else None,
        uncertainty=_uncertainty(probability) if "uncertainty" in keep else None,
        sd=kept.get("sd"),
        scratch=planes,
        owns_field=owns_field,
    )


def _kept(keep: Sequence[str]) -> list[str]:
    """The planes that have to be stored: the uncertainty is computed from the probability."""
    return list(dict.fromkeys("probability" if name == "uncertainty" else name for name in keep))


def _uncertainty(probability: Any) -> Any:
    return entropy_bits(probability) if isinstance(probability, np.ndarray) else Computed(probability, entropy_bits)


def _find(
    ensemble: FieldModel,
    field: Field,
    channels: Sequence[str],
    finder: NucleiFinder,
    kept: dict[str, Any],
    tell: Progress,
) -> float:
    """Predict the field, let the finder have what is finished, store what is kept; returns the mean entropy."""
    height, width = field.shape
    rows = {"probability": RollingRows((), width), **({"sd": RollingRows((), width)} if "sd" in kept else {})}
    bands = ensemble.bands(ensemble.pixels(field, channels), spread="sd" in kept)
    entropy = 0.0
    for row in chunk_rows(field.shape, finder.edge):
        y0, y1 = row[0].y0, row[0].y1
        while rows["probability"].bottom < min(height, y1 + finder.reach):
            band = next(bands)
            rows["probability"].append(band.mean)
            if "sd" in kept:
                rows["sd"].append(band.sd)
            tell(rows["probability"].bottom / height)
        for name, plane in kept.items():
            plane[y0:y1, :] = rows[name][y0:y1]
        entropy += sum(finder.add(chunk, rows["probability"]) for chunk in row)
        for some in rows.values():
            some.drop(y1 - finder.reach)
    return entropy / (height * width)
