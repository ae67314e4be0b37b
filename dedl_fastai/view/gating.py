"""`Gating`: histograms and cut-offs of the markers of a folder of results, and a gates.json after they were moved."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..errors import UserError
from ..phenotypes.columns import intensity_column, markers_in
from ..phenotypes.gates.fit import fit_gates
from ..phenotypes.gates.gate import Gate
from ..phenotypes.gates.gates import ALL, Gates
from ..phenotypes.gates.one_marker import gate_of
from ..phenotypes.gates.options import GateOptions
from ..predict.folder_gates import moved_gates, newest_gates
from ..predict.kinds import KINDS
from .cells import listed
from .marker_cells import MarkerCells
from .stamps import Stamp, stamp_of

_BINS = 100
_RECENT = 1.0  # seconds for which tiles of outlines believe that the files of all fields are as they were


class _Files(NamedTuple):
    """What tables and gates were read from."""

    tables: list[Stamp]
    gates: Path | None
    gates_stamp: Stamp


class Gating:
    """The cut-offs of a folder of results. Safe in threads; other commands may change the files meanwhile.

    They are those moved before, else those that the results were made with, else they are fitted to the cells of all
    fields. Moved ones go to `corrections/gates.json`: the results stay next to the cut-offs that they were made with.
    """

    def __init__(self, folder: Path, fields: Sequence[str]):
        self.folder, self.fields = folder, list(fields)
        self._lock = threading.RLock()
        self._tables = lru_cache(maxsize=4)(self._read)
        self._gates = Gates({ALL: {}})
        self._loaded = _Files([], None, None)
        self._looked = -_RECENT  # when

    @cached_property
    def markers(self) -> list[str]:
        """The markers that can be gated: those with a mean intensity in the tables of cells; none without tables."""
        existing = next((p for p in self._table_files().values() if p.is_file()), None)
        return [] if existing is None else list(markers_in(pd.read_csv(existing, nrows=0).columns))

    def _table_files(self) -> dict[str, Path]:
        return {name: self.folder / f"{name}{KINDS['cells'].ending}" for name in self.fields}

    def _read(self, marker: str) -> dict[str, pd.DataFrame]:
        """Label, place and intensity of the cells of each field. Raises `UserError` for unknown markers."""
        if marker not in self.markers:
            raise UserError(f"the cells have no marker {marker!r}, but {', '.join(self.markers)}.")
        tables = {}
        for name, path in self._table_files().items():
            if path.is_file():
                column = intensity_column(pd.read_csv(path, nrows=100), marker)
                if column is not None:
                    tables[name] = pd.read_csv(path, usecols=["label", "y_px", "x_px", column])
                    tables[name].attrs["path"] = str(path)
        return tables

    def _cells(self, marker: str, age: float = 0.0) -> MarkerCells:
        """The cells and cut-offs of a marker, from the files as they are now, or were up to `age` seconds ago."""
        with self._lock:
            if time.monotonic() - self._looked >= age:
                self._follow()
            tables = self._tables(marker)
            if marker not in self._gates.markers:
                self._gates = self._gates.replaced(fit_gates(tables, [marker]).common())
            return MarkerCells(marker, self._gates, tables)

    def _follow(self) -> None:
        """Forget tables and gates if another process has written their files, and read the newest gates."""
        path = newest_gates(self.folder)
        tables = [stamp_of(p) for p in self._table_files().values()]
        files = _Files(tables, path, stamp_of(path) if path else None)
        if files != self._loaded:
            self._gates = Gates.load(path).spelt_as(self.markers) if path else Gates({ALL: {}})
            self._tables.cache_clear()
            self._loaded = files
        self._looked = time.monotonic()

    def described(self, marker: str, field: str) -> dict[str, Any]:
        """Histograms of the logarithms, of a field and of all cells with the same cut-off, and the cut-off."""
        cells = self._cells(marker)
        gate, of_field, of_all = cells.gate(field), cells.values(field), np.concatenate(cells.of_group(field))
        logs = gate.scale.log(of_all[np.isfinite(of_all)])
        low, high = (float(logs.min()), float(logs.max())) if len(logs) else (0.0, 1.0)
        edges = np.linspace(low, max(high, low + 1e-6), _BINS + 1)
        counts = [np.histogram(gate.scale.log(v[np.isfinite(v)]), edges)[0].tolist() for v in (of_field, of_all)]
        return {
            "marker": marker,
            "edges": gate.scale.intensity(edges).tolist(),
            "field": counts[0],
            "all": counts[1],
            "cut": gate.cut,
            "statement": gate.statement,
            "method": gate.method,
        }

    def counts(self, marker: str, field: str, cut: float) -> dict[str, int]:
        """How many cells of a field, and of all with the same cut-off, are above a cut-off."""
        cells = self._cells(marker)
        of_field, of_all = cells.values(field), np.concatenate(cells.of_group(field))
        return {
            "field": int((of_field > cut).sum()),
            "cells_of_field": len(of_field),
            "all": int((of_all > cut).sum()),
            "cells": len(of_all),
        }

    def nearest(self, marker: str, field: str, cut: float, n: int) -> list[dict[str, Any]]:
        """The n cells of a field next to a cut-off on the marker's logarithmic scale, as label, place and value."""
        cells = self._cells(marker)
        scale, values = cells.gate(field).scale, cells.values(field)
        distance = np.abs(scale.log(values) - scale.log(np.array([cut])))
        order = np.argsort(np.nan_to_num(distance, nan=np.inf), kind="stable")[:n]
        places = cells.table(field)[["label", "y_px", "x_px"]].to_numpy(float)
        return [listed(places[i], float(values[i])) for i in order if np.isfinite(values[i])]

    def positive(self, marker: str, field: str, cut: float) -> np.ndarray:
        """Whether the nucleus with each label is above a cut-off; for tiles, many of which are asked for at once."""
        cells = self._cells(marker, age=_RECENT)
        labels = cells.table(field)["label"].to_numpy()
        table = np.zeros(int(labels.max(initial=0)) + 1, bool)
        table[labels] = cells.values(field) > cut
        return table

    def save(self, marker: str, field: str, cut: float) -> Gate:
        """Move the cut-off of a marker, for all fields that share it, and write all to `corrections/gates.json`."""
        with self._lock:
            cells = self._cells(marker)
            gate, gates = cells.gate(field), cells.gates
            cuts = [cut] if gate.bright is None else [cut, max(cut, gate.bright)]
            moved = gate_of(
                marker,
                cells.of_group(field),
                columns=gate.columns,
                options=GateOptions(),
                given=cuts,
                n_cuts=gate.n_cuts,
            )
            groups = {
                group: {m: moved if g is gate else g for m, g in of_group.items()}
                for group, of_group in gates.groups.items()
            }
            self._gates = replace(gates, groups=groups)
            path = moved_gates(self.folder)
            self._gates.save(path)
            self._loaded = self._loaded._replace(gates=path, gates_stamp=stamp_of(path))
            return moved
