"""`NucleiFinder`: finds the nuclei of a field chunk by chunk in finished rows of its probability, and measures them."""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage as ndi

from ..cells.measure import measure_cells
from ..cells.options import NucleiOptions
from ..cells.watershed import find_nuclei
from ..io.fields.field import Field
from .chunks import Box, ChunkedLabels
from .regions import RegionMeans
from .rolling_rows import RollingRows
from .scratch import Scratch
from .window import entropy_bits

AT_ONCE_PIXELS = 1 << 22  # up to 2048 x 2048 a field is labelled in one piece, with about 80 bytes per pixel
CHUNK = 1024  # edge of the chunks of larger fields
_HALO_PX, _HALO_UM = 128, 64.0  # margin around a chunk: nuclei up to this size are found as if labelled at once
_INTENSITY_UM = 8.0  # distance up to which intensities affect the separation of nuclei


@dataclass
class _Chunk:
    """Labels first..last, written by one chunk, and the bounding box of their pixels."""

    first: int
    last: int
    box: Box


class NucleiFinder:
    """Labels the nuclei of a field in the plane `labels`, int32 ids 1..n, in raster order if there is one chunk."""

    def __init__(
        self,
        field: Field,
        channel: int,  # index of the nuclear channel, for `part_by="intensity"`
        threshold: float,
        options: NucleiOptions,
        scratch: Scratch,
    ):
        self.field, self.channel, self.threshold, self.options = field, channel, threshold, options
        height, width = field.shape
        self.shape = (height, width)
        size = field.pixel_size_um or 1.0
        self.edge = max(height, width) if height * width <= AT_ONCE_PIXELS else CHUNK
        halo = max(_HALO_PX, math.ceil(_HALO_UM / size))
        # holes at the edge of the visible region are not filled, and intensities there lack their surroundings
        margin = math.ceil(self.options.max_hole_um2 / size**2) + 1
        margin = max(margin, math.ceil(_INTENSITY_UM / size) if self.options.part_by == "intensity" else 0)
        self.reach = halo + margin  # rows beyond a chunk that must be finished before it is labelled
        self.labels = scratch.plane("labels", self.shape, np.int32)
        self.writer = ChunkedLabels(self.labels, self.edge, halo, self.options.min_area_um2 / size**2)
        self.chunks: list[_Chunk] = []
        self.entropy = RegionMeans(self.shape)
        self.sums: list[pd.DataFrame] = []

    def add(self, chunk: Box, probability: RollingRows, maps: RollingRows) -> None:
        """Find the nuclei of a chunk, given the rows within `reach` of it, and add up its entropy.

        `maps` are those of the model's head, (maps, H, W).
        """
        seen = chunk.grown(self.reach, self.shape)
        p = probability[seen.y0 : seen.y1][:, seen.x0 : seen.x1]
        before = self.writer.count
        found = find_nuclei(
            p,
            threshold=self.threshold,
            field=self.field,
            channel=self.channel,
            options=self.options,
            region=seen,
            maps=maps[seen.y0 : seen.y1][..., seen.x0 : seen.x1],
        )
        view, added = self.writer.write(chunk, seen, found)
        entropy = entropy_bits(p)
        window = view.slices(seen.y0, seen.x0)
        self._record(view, added, before, probability=p[window], entropy=entropy[window])
        self.entropy.add(entropy[chunk.slices(seen.y0, seen.x0)], chunk)

    def measured(self, progress: Callable[[float], None], *, ring_um: float, ring_quartiles: bool) -> pd.DataFrame:
        """Measure all nuclei: the table of `measure_cells` with mean probability and uncertainty, sorted by id."""
        size = self.field.pixel_size_um
        margin = 2 * math.ceil(ring_um / (size or 1.0)) + 2  # far enough to include all nuclei that limit a ring
        measured = partial(self._measured, ring_um=ring_um, ring_quartiles=ring_quartiles)
        tables = []
        for i, chunk in enumerate(self.chunks):
            box = chunk.box.grown(margin, self.shape)
            tables.append(measured(box, np.arange(chunk.first, chunk.last + 1)))
            progress((i + 1) / len(self.chunks))
        table = pd.concat(tables, ignore_index=True) if tables else measured(Box(0, 1, 0, 1), np.zeros(0))
        table.attrs["pixel_size_um"] = size
        return table.assign(**self._means())

    def _record(self, view: Box, added: np.ndarray, before: int, probability: np.ndarray, entropy: np.ndarray) -> None:
        """Record the boxes of the new pixels, and the sums of their probability and entropy."""
        at = np.flatnonzero(added)
        if not len(at):
            return
        ids, owner = np.unique(added.ravel()[at], return_inverse=True)
        if self.writer.count > before:
            self.chunks.append(_Chunk(before + 1, self.writer.count, _box(added > before, view)))
        firsts = [c.first for c in self.chunks]
        for label in ids[ids <= before]:  # an object of an earlier chunk has grown
            chunk = self.chunks[bisect_right(firsts, label) - 1]
            chunk.box = chunk.box.union(_box(added == label, view))
        columns = {"label": ids, "area": np.bincount(owner)}
        columns |= {
            n: np.bincount(owner, p.ravel()[at]) for n, p in (("probability", probability), ("uncertainty", entropy))
        }
        self.sums.append(pd.DataFrame(columns))

    def _means(self) -> dict[str, Any]:
        """Mean probability and uncertainty of each object, sorted by id."""
        if not self.sums:
            return {"probability": np.zeros(0), "uncertainty": np.zeros(0)}
        total = pd.concat(self.sums).groupby("label").sum()
        return {name: (total[name] / total["area"]).to_numpy() for name in ("probability", "uncertainty")}

    def _measured(self, box: Box, ids: np.ndarray, **rings: Any) -> pd.DataFrame:
        labels = np.asarray(self.labels[box.slices()])
        return measure_cells(labels, self.field, at=(box.y0, box.x0), ids=ids, **rings)


def _box(mask: np.ndarray, view: Box) -> Box:
    """Bounding box in the field of the pixels of a mask that covers `view`."""
    (rows, columns), *_ = ndi.find_objects(mask.astype(np.uint8))
    return Box(view.y0 + rows.start, view.y0 + rows.stop, view.x0 + columns.start, view.x0 + columns.stop)
