"""The fields of a comparison: pixels of the nuclear channel and true ids, as arrays that every tool reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data.cohort import Cohort
from ...data.pixels import pick_channels
from ...errors import UserError
from ...io.fields.readers import open_field
from ...io.masks import IGNORED, holds_ids, read_labels


@dataclass(frozen=True)
class TrueField:
    """A field whose nuclei are known."""

    pixels: np.ndarray  # float32 (H, W), one channel, as in the file
    ids: np.ndarray  # int32 (H, W), 0 is background
    pixel_size_um: float | None = None


def true_fields(cohort: Cohort, channels: Sequence[str]) -> list[TrueField]:
    """Read the fields whose masks hold ids of nuclei everywhere; of each, the first of `channels` that it has.

    Raises `UserError` if no mask of the cohort holds ids, or if a field has none of the channels.
    """
    fields = []
    for row in cohort.with_masks().rows():
        labels = read_labels(row.mask)
        if holds_ids(row.mask, labels) and not (labels == IGNORED).any():
            fields.append(_true_field(row.image, labels.astype(np.int32), channels))
    if not fields:
        raise UserError(f"no mask of {cohort.root} tells nuclei apart: the tools cannot be compared on it.")
    return fields


def _true_field(image: str | Path, ids: np.ndarray, channels: Sequence[str]) -> TrueField:
    with open_field(image) as field:
        for name in channels:
            try:
                return TrueField(field.read(pick_channels(field, [name])[0]), ids, field.pixel_size_um)
            except UserError:
                continue
        raise UserError(f"{image} has none of the channels {', '.join(channels)}: it has {', '.join(field.channels)}.")
