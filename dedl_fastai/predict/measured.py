"""Measured fields on disk: cells and labels that wait, in a hidden folder, until the types of the cells are known."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UserError
from ..inference.field_cells import FieldCells
from ..inference.scale import scale_from_dict
from ..inference.scratch import CHUNK
from ..io.fields.field import Field
from ..io.files import read_json, write_json

_FACTS, _CELLS, _LABELS, _LARGE_LABELS = "measured.json", "cells.npz", "labels.npz", "labels.zarr"


class MeasuredField:
    """The folder of one field between its prediction and its results; it also holds files that are finished already."""

    def __init__(self, folder: Path):
        self.folder = folder

    @contextmanager
    def new(self) -> Iterator[None]:
        """Make the folder, without the remains of a killed process, and remove it if the block fails."""
        self.remove()
        self.folder.mkdir()
        try:
            yield
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget(self) -> None:
        """Count the field as not measured from here on, because files are about to leave the folder."""
        (self.folder / _FACTS).unlink(missing_ok=True)

    def save(self, found: FieldCells, facts: dict[str, Any]) -> None:
        """Write cells, labels and facts; the facts last, so that a folder that has them is whole."""
        np.savez_compressed(self.folder / _CELLS, cells=found.cells.to_records(index=False))
        if isinstance(found.labels, np.ndarray):
            np.savez_compressed(self.folder / _LABELS, labels=found.labels)
        else:
            _copy_to_zarr(found.labels, self.folder / _LARGE_LABELS)
        own = {name: getattr(found, name) for name in ("threshold", "field_uncertainty")}
        own |= {"scale": asdict(found.scale), "attrs": found.cells.attrs}
        regions = found.region_uncertainty
        own["region_uncertainty"] = None if regions is None else regions.tolist()
        write_json(self.folder / _FACTS, {"facts": facts, "found": own})

    @property
    def facts(self) -> dict[str, Any] | None:
        """The facts that `save` was given; None if the field is not measured."""
        return self._read("facts")

    @property
    def scale(self) -> dict[str, Any] | None:
        """The scale at which the field was predicted; None if it is not measured."""
        found = self._read("found")
        return found and found["scale"]

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return read_json(self.folder / _FACTS)[name]
        except UserError:  # there is none, or a killed process left a part of it
            return None

    def cells(self) -> pd.DataFrame:
        """The table of cells, without types."""
        with np.load(self.folder / _CELLS) as stored:
            table = pd.DataFrame(stored["cells"])
        table.attrs |= (self._read("found") or {}).get("attrs", {})
        return table

    def load(self, field: Field) -> FieldCells:
        """The field as it was predicted, without the probability."""
        found = self._read("found")
        assert found is not None, self.folder
        regions = found.get("region_uncertainty")  # an earlier version did not keep them
        return FieldCells(
            field,
            labels=self._labels(),
            cells=self.cells(),
            threshold=found["threshold"],
            scale=scale_from_dict(found["scale"]),
            field_uncertainty=found["field_uncertainty"],
            region_uncertainty=None if regions is None else np.array(regions),
        )

    def _labels(self) -> Any:
        if (self.folder / _LARGE_LABELS).exists():
            import zarr

            return zarr.open_array(str(self.folder / _LARGE_LABELS), mode="r")
        with np.load(self.folder / _LABELS) as stored:
            return stored["labels"]


def _copy_to_zarr(plane: Any, path: Path) -> None:
    import zarr

    copy = zarr.open_array(
        str(path), mode="w", shape=plane.shape, chunks=(CHUNK, CHUNK), dtype=plane.dtype, fill_value=0
    )
    for y in range(0, plane.shape[0], CHUNK):
        copy[y : y + CHUNK] = plane[y : y + CHUNK, :]
