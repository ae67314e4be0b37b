"""`Gating`: histograms and cut-offs of the markers of a folder of results, and a gates.json after they were moved."""

import threading
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UserError
from ..phenotypes.columns import intensity_column, markers_in
from ..phenotypes.gates.fit import fit_gates
from ..phenotypes.gates.gate import Gate
from ..phenotypes.gates.gates import ALL, Gates
from ..phenotypes.gates.one_marker import gate_of
from ..phenotypes.gates.options import GateOptions
from ..predict.folder_gates import moved_gates, newest_gates, origin_of
from ..predict.kinds import KINDS
from .cells import listed

_BINS = 100


class Gating:
    """The cut-offs of a folder of results. Safe in threads.

    They are those moved before, else those that the results were made with, else they are fitted to the cells of all
    fields. Moved ones go to `corrections/gates.json`: the results stay next to the cut-offs that they were made with.
    """

    def __init__(self, folder: Path, fields: Sequence[str]):
        self.folder, self.fields = folder, list(fields)
        self._lock = threading.RLock()
        self._tables = lru_cache(maxsize=4)(self._read)

    @cached_property
    def gates(self) -> Gates:
        """The cut-offs at first, with the markers spelt as in the tables."""
        path = newest_gates(self.folder)
        return Gates.load(path).spelt_as(self.markers) if path else Gates({ALL: {}})

    @cached_property
    def markers(self) -> list[str]:
        """The markers that can be gated: those with a mean intensity in the tables of cells; none without tables."""
        paths = [self._table_file(name) for name in self.fields]
        existing = next((p for p in paths if p.is_file()), None)
        return [] if existing is None else list(markers_in(pd.read_csv(existing, nrows=0).columns))

    def _table_file(self, name: str) -> Path:
        return self.folder / f"{name}{KINDS['cells'].ending}"

    def _read(self, marker: str) -> dict[str, pd.DataFrame]:
        """Label and intensity of the cells of each field. Raises `UserError` for unknown markers."""
        if marker not in self.markers:
            raise UserError(f"the cells have no marker {marker!r}, but {', '.join(self.markers)}.")
        tables = {}
        for name in self.fields:
            path = self._table_file(name)
            if path.is_file():
                column = intensity_column(pd.read_csv(path, nrows=100), marker)
                if column is not None:
                    tables[name] = pd.read_csv(path, usecols=["label", "y_px", "x_px", column])
                    tables[name].attrs["path"] = str(path)
        return tables

    def gate(self, marker: str, field: str) -> Gate:
        """The cut-off of a marker that holds for a field."""
        with self._lock:
            tables = self._tables(marker)
            if marker not in self.gates.markers:
                fitted = fit_gates(tables, [marker]).common()
                self.gates = self.gates.replaced(fitted)
            return self.gates.of(origin_of(field))[marker]

    def values(self, marker: str, field: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels and intensities of the cells of a field, in the units of the cut-off."""
        self.gate(marker, field)
        table = self._tables(marker).get(field)
        if table is None:
            raise UserError(
                f"the field {field!r} has no table of cells with {marker}: let predict write it (write=cells)."
            )
        return table["label"].to_numpy(), self.gates.values(table, marker, origin_of(field))

    def _of_group(self, marker: str, field: str) -> list[np.ndarray]:
        """The intensities of the cells that share the cut-off of a field."""
        gate = self.gate(marker, field)
        alike = [name for name in self._tables(marker) if self.gate(marker, name) is gate]
        return [self.values(marker, name)[1] for name in alike]

    def described(self, marker: str, field: str) -> dict[str, Any]:
        """Histograms of the logarithms, of a field and of all cells with the same cut-off, and the cut-off."""
        gate = self.gate(marker, field)
        of_field, of_all = self.values(marker, field)[1], np.concatenate(self._of_group(marker, field))
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
        of_all = np.concatenate(self._of_group(marker, field))
        of_field = self.values(marker, field)[1]
        return {
            "field": int((of_field > cut).sum()),
            "cells_of_field": len(of_field),
            "all": int((of_all > cut).sum()),
            "cells": len(of_all),
        }

    def nearest(self, marker: str, field: str, cut: float, n: int) -> list[dict[str, Any]]:
        """The n cells of a field next to a cut-off on the marker's logarithmic scale, as label, place and value."""
        scale, values = self.gate(marker, field).scale, self.values(marker, field)[1]
        distance = np.abs(scale.log(values) - scale.log(np.array([cut])))
        order = np.argsort(np.nan_to_num(distance, nan=np.inf), kind="stable")[:n]
        places = self._tables(marker)[field][["label", "y_px", "x_px"]].to_numpy(float)
        return [listed(places[i], float(values[i])) for i in order if np.isfinite(values[i])]

    def positive(self, marker: str, field: str, cut: float) -> np.ndarray:
        """Whether the nucleus with each label is above a cut-off."""
        labels, values = self.values(marker, field)
        table = np.zeros(int(labels.max(initial=0)) + 1, bool)
        table[labels] = values > cut
        return table

    def save(self, marker: str, field: str, cut: float) -> Gate:
        """Move the cut-off of a marker, for all fields that share it, and write all to `corrections/gates.json`."""
        with self._lock:
            gate = self.gate(marker, field)
            cuts = [cut] if gate.bright is None else [cut, max(cut, gate.bright)]
            moved = gate_of(
                marker,
                self._of_group(marker, field),
                columns=gate.columns,
                options=GateOptions(),
                given=cuts,
                n_cuts=gate.n_cuts,
            )
            groups = {
                group: {m: moved if g is gate else g for m, g in of_group.items()}
                for group, of_group in self.gates.groups.items()
            }
            self.gates = Gates(groups, self.gates.per, self.gates.shift, self.gates.factors)
            self.gates.save(moved_gates(self.folder))
            return moved
