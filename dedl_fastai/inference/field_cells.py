"""`predict_field`: labels and measured cells of a field or slide of any size, in bounded memory.

Tiles are predicted and blended band by band (window.py), nuclei are found in chunks as soon as their rows are finished
(chunks.py), and cells are measured chunk by chunk. A field of up to 2048 x 2048 pixels is a single chunk.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
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
from .options import SCALE
from .rolling_rows import RollingRows
from .scale import ScalableModel, Scale, choose_scale
from .scratch import Computed, Scratch
from .window import Band, FieldPixels, entropy_bits

_PREDICTED = 0.8  # share of the work, as reported to `progress`, when all tiles are predicted
PLANES = ("probability", "uncertainty", "sd")

Progress = Callable[[float], None]  # share done, 0..1


class FieldModel(ScalableModel, Protocol):
    """The interface that `predict_field` needs of a model, as `Ensemble` has it."""

    def channel_indices(self, field: Field, channels: Sequence[str]) -> list[int]:
        """Indices of the channels that the model takes."""

    def pixels(self, field: Field, channels: Sequence[str]) -> FieldPixels:
        """The field's channels, scaled."""

    def bands(self, pixels: FieldPixels, spread: bool, scale: float) -> Iterator[Band]:
        """The probability in bands of finished rows, from top to bottom, with the field magnified by `scale`."""


@dataclass
class FieldCells:
    """A predicted field: planes (H, W), sliced as `plane[y0:y1, x0:x1]`, and the table of cells.

    Use it as a context manager or call `close`. Planes of up to 16 megapixels are arrays; larger ones are compressed on
    disk, and removed on closing.
    """

    field: Field
    labels: Any  # int32 ids 1..n of nuclei, 0 is background
    cells: pd.DataFrame  # as returned by `measure_cells`
    threshold: float
    scale: Scale  # at which the network saw the field
    field_uncertainty: float  # mean entropy of the probability in bits
    region_uncertainty: np.ndarray | None = None  # the same for each region (rows, columns), see `RegionMeans`
    probability: Any = None  # float32, mean of the members; planes that were not kept are None
    uncertainty: Any = None  # entropy of the probability in bits
    sd: Any = None  # standard deviation over the members
    scratch: Scratch | None = None
    owns_field: bool = False  # `close` also closes the field

    def close(self) -> None:
        """Remove the planes on disk, and close the image file if `predict_field` opened it."""
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
    field: str | Path | Field,  # an image file, or an open field, which stays open
    *,
    channels: Sequence[str] = (),  # names of the model's channels in this file, if they differ from training
    nuclei: NucleiOptions | None = None,
    ring_um: float = 2.0,  # width of the ring around a nucleus
    ring_quartiles: bool = False,  # also measure the quartiles of the rings
    scale: str | float | Scale = SCALE,  # none, auto or a factor, see `choose_scale`; or one that is already chosen
    keep: Sequence[str] = ("probability", "uncertainty"),  # planes to keep; "sd" is the deviation over the members
    scratch: str | Path | None = None,  # folder for the planes of a slide; None: the system's temporary folder
    progress: Progress | None = None,
) -> FieldCells:
    """Predict a field of any size: probability, labels of nuclei, and measured cells.

    Memory does not depend on the height of the field; a few thousand rows of it and the table of cells are in memory.
    Raises `UserError` for unreadable files, missing channels and unknown planes.
    """
    unknown = [name for name in keep if name not in PLANES]
    if unknown:
        raise UserError(f"there is no plane {unknown[0]!r} to keep: there are {', '.join(PLANES)}.")
    report = progress or (lambda share: None)
    with ExitStack() as stack:
        owns_field = not isinstance(field, Field)
        source = field if isinstance(field, Field) else stack.enter_context(open_field(field))
        planes = stack.enter_context(Scratch(scratch))
        channel = ensemble.channel_indices(source, channels)[0]
        finder = NucleiFinder(
            source,
            channel=channel,
            threshold=ensemble.threshold,
            options=(nuclei or NucleiOptions()).filled(ensemble.separation),
            scratch=planes,
        )
        stored = {name: planes.plane(name, finder.shape, np.float32) for name in _stored(keep)}
        pixels = ensemble.pixels(source, channels)
        chosen = scale if isinstance(scale, Scale) else choose_scale(ensemble, [pixels], [source.pixel_size_um], scale)
        bands = ensemble.bands(pixels, spread="sd" in stored, scale=chosen.factor)
        _find(bands, finder, stored, report=lambda share: report(_PREDICTED * share))
        measured_share = partial(_after_prediction, report)
        cells = finder.measured(measured_share, ring_um=ring_um, ring_quartiles=ring_quartiles)
        stack.pop_all()
    probability = stored.get("probability")
    return FieldCells(
        source,
        labels=finder.labels,
        cells=cells,
        threshold=ensemble.threshold,
        scale=chosen,
        field_uncertainty=finder.entropy.mean,
        region_uncertainty=finder.entropy.means,
        probability=probability if "probability" in keep else None,
        uncertainty=_uncertainty(probability) if "uncertainty" in keep else None,
        sd=stored.get("sd"),
        scratch=planes,
        owns_field=owns_field,
    )


def _after_prediction(report: Progress, share: float) -> None:
    report(_PREDICTED + (1 - _PREDICTED) * share)


def _stored(keep: Sequence[str]) -> list[str]:
    """The planes to store; the uncertainty is computed from the probability when it is read."""
    return list(dict.fromkeys("probability" if name == "uncertainty" else name for name in keep))


def _uncertainty(probability: Any) -> Any:
    return entropy_bits(probability) if isinstance(probability, np.ndarray) else Computed(probability, entropy_bits)


def _find(
    bands: Iterator[Band],
    finder: NucleiFinder,
    stored: dict[str, Any],  # name -> plane to fill
    report: Progress,
) -> None:
    """Find the nuclei in finished rows of the prediction and fill the planes."""
    height, width = finder.shape
    probability, sd = RollingRows((), width), RollingRows((), width)
    rows = {"probability": probability, "sd": sd}
    maps: RollingRows | None = None
    for chunk_row in chunk_rows(finder.shape, finder.edge):
        y0, y1 = chunk_row[0].y0, chunk_row[0].y1
        while probability.bottom < min(height, y1 + finder.reach):
            band = next(bands)
            probability.append(band.mean)
            maps = maps or RollingRows((len(band.maps),), width)
            maps.append(band.maps)
            if "sd" in stored and band.sd is not None:
                sd.append(band.sd)
            report(probability.bottom / height)
        for name, plane in stored.items():
            plane[y0:y1, :] = rows[name][y0:y1]
        assert maps is not None  # a field has at least one band
        for chunk in chunk_row:
            finder.add(chunk, probability, maps)
        for buffer in (*rows.values(), maps):
            buffer.drop(y1 - finder.reach)
