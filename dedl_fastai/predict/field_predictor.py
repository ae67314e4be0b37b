"""`FieldPredictor`: the models of a prediction, which measure a field and write its results, on whichever machine."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..cells.measure import measure_cells
from ..cells.phenotyping import add_phenotypes
from ..errors import UserError
from ..inference.field_cells import predict_field
from ..inference.scale import Scale, choose_scale, sample_of
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from ..io.locks import alone_at
from ..phenotypes.gates.gates import Gates
from ..phenotypes.rules import Rules
from .cell_types import check_channels, typed_cells, typer_of
from .folder_gates import gated_columns, origin_of
from .inputs import left_out
from .kinds import KINDS, Result, check_size, planes_of
from .options import CellOptions, ModelOptions
from .record import Record
from .result_folder import ResultFolder
from .settings import load_ensemble

Progress = Callable[[str, float], None]  # called with the field, or "fields" if several are in progress, and a share


@dataclass(frozen=True)
class Work:
    """What a process on any machine needs to predict fields."""

    runs: tuple[str, ...]
    out: Path
    options: CellOptions
    model: ModelOptions
    settings: dict[str, Any]
    made: dict[str, Any]


@dataclass(frozen=True)
class FieldTask:
    """A field to measure, or to finish."""

    name: str
    image: Path
    record: Record | None  # of its files that stay
    scale: str | Scale
    gates: Gates | None = None
    is_fresh: bool = False  # this prediction has measured it already


@dataclass(frozen=True)
class ScaleTask:
    """The fields whose common scale is to be chosen."""

    images: Sequence[Path]
    name: str = "scale"
    image: Path = Path("the scale of the fields")


@dataclass(frozen=True)
class FieldResult:
    """What has become of a field."""

    left_out: str = ""  # the line for a field that failed
    cells: pd.DataFrame | None = None  # the columns that gates need, of a field that was measured
    record: Record | None = None  # of a field that is finished


class FieldPredictor:
    """The models and options of a prediction; its methods may be called by several threads, for several fields."""

    def __init__(self, work: Work, progress: Progress | None = None):
        self.options, self.progress = work.options, progress
        self.folder = ResultFolder(work.out, work.options, work.settings, work.made)
        self.ensemble = load_ensemble(work.runs, work.model)
        self.typer = typer_of(work.options, work.model)  # a classifier of single cells, in place of rules

    def scale(self, task: ScaleTask) -> Scale:
        """Choose the scale that all fields share."""
        paths = task.images
        with ExitStack() as stack:
            pixels, sizes = [], []
            for i in sample_of(len(paths)):
                with suppress(UserError):  # it is reported when its turn comes
                    field = stack.enter_context(open_field(paths[i], self.options.pixel_size_um))
                    pixels.append(self.ensemble.pixels(field, self.options.channels))
                    sizes.append(field.pixel_size_um)
            return choose_scale(self.ensemble, pixels, sizes, "auto") if pixels else Scale()

    def measured(self, task: FieldTask) -> FieldResult:
        """Measure a field, for the gates of all fields."""

        def measure() -> FieldResult:
            self._measure(task)
            rules = self.options.rule_set
            assert rules is not None
            return FieldResult(cells=gated_columns(self.folder.measured(task.name).cells(), rules))

        return self._tried(task, measure)

    def finished(self, task: FieldTask) -> FieldResult:
        """Write the results of a field; measure it first unless this has been done."""

        def finish() -> FieldResult:
            self._measure(task)
            return FieldResult(record=self._write(task))

        return self._tried(task, finish)

    def _tried(self, task: FieldTask, step: Callable[[], FieldResult]) -> FieldResult:
        """Take a step with a field; if it fails, the line that says why. Raises a `UserError` for a full disk."""
        if task.record:
            self.folder.records[task.name] = task.record
        try:
            with alone_at(self.folder.lock(task.name), str(task.image)):
                try:
                    return step()
                except Exception:
                    self.folder.measured(task.name).remove()
                    raise
        except Exception as e:  # engines raise exceptions of their own: whatever it is, the others continue
            return FieldResult(left_out=left_out(e, task.image))

    def _measure(self, task: FieldTask) -> None:
        """Predict a field, and write its cells, its labels and the files that hold no types into a hidden folder."""
        options, place = self.options, self.folder.measured(task.name)
        if self.folder.is_measured(task.name, task.image, task.is_fresh):
            return
        with place.new(), open_field(task.image, options.pixel_size_um) as field:
            self._check(field, task)
            with predict_field(
                self.ensemble,
                field,
                channels=options.channels,
                nuclei=options.nuclei,
                ring_um=options.ring_um,
                ring_quartiles=self.typer is not None and self.typer.ring_quartiles,
                scale=task.scale,
                keep=planes_of(options.kinds),
                scratch=place.folder,
                progress=partial(self.progress, task.name) if self.progress and options.jobs == 1 else None,
            ) as predicted:
                for kind, target in self.folder.targets(task.name).items():
                    if not KINDS[kind].has_types:
                        KINDS[kind].write(place.folder / target.name, Result(predicted))
                place.save(predicted, self.folder.facts(task.name, task.image))

    def _check(self, field: Field, task: FieldTask) -> None:
        """Raise a `UserError` for what would otherwise fail only after the prediction."""
        options = self.options
        height, width = field.shape
        check_size(options.kinds, field.path, (height, width))
        if self.typer:
            check_channels(self.typer, field)
        if options.rule_set:  # tried on a field without cells
            none = np.zeros((1, 1), np.int32)
            planes = {c: none.astype(np.float32) for c in field.channels}
            cells = measure_cells(none, planes, ring_um=options.ring_um)
            cells.attrs["path"] = str(field.path)
            self._with_types(task, cells, options.rule_set)

    def _with_types(self, task: FieldTask, cells: pd.DataFrame, rules: Rules) -> pd.DataFrame:
        """The cells with their types. Before there are gates, any cut-off will do."""
        given, name = self.options.markers_above, task.name
        if task.gates is None:
            given = {m: [0.0] * (1 + (m in rules.with_two_cuts)) for m in rules.markers} | given
        tables = add_phenotypes({name: cells}, rules, given, gates=task.gates, origins={name: origin_of(name)})
        return tables[name]

    def _write(self, task: FieldTask) -> Record:
        """Determine the types of a measured field's cells and write its results."""
        options = self.options
        with open_field(task.image, options.pixel_size_um) as field:
            predicted = self.folder.measured(task.name).load(field)
            if options.rule_set:
                predicted.cells = self._with_types(task, predicted.cells, options.rule_set)
            if self.typer:
                predicted.cells = typed_cells(self.typer, predicted, options.min_confidence)
            channel = self.ensemble.channel_indices(field, options.channels)[0]
            return self.folder.write(task.name, task.image, Result(predicted, channel, options.radius_um))
