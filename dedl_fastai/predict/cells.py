"""`predict_cells`: predict the nuclei of fields of any size, and write masks, tables and outlines of their cells."""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..cells.measure import measure_cells
from ..cells.none_found import warn_if_all_empty, warn_of_empty_field
from ..cells.phenotyping import add_phenotypes
from ..errors import UserError
from ..inference.cell_types import CellTyper
from ..inference.ensemble import Ensemble
from ..inference.field_cells import predict_field
from ..inference.scale import Scale, choose_scale, sample_of
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from ..phenotypes.gates.gates import Gates
from ..phenotypes.rules import Rules
from .cell_types import check_channels, typed_cells, typer_of
from .folder_gates import gated_columns, known_gates, make_gates, makes_gates, origin_of
from .inputs import field_images, left_out
from .kinds import KINDS, Result, check_size, planes_of
from .options import CellOptions, ModelOptions
from .result_folder import ResultFolder
from .settings import load_ensemble, provenance, result_settings
from .side_by_side import side_by_side

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]  # called with the field, or "fields" with `jobs`, and the share that is done


def predict_cells(
    runs: Sequence[str | Path],
    inputs: Iterable[str | Path],  # image files, or folders of them
    out: str | Path,
    options: CellOptions | None = None,
    model: ModelOptions | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write the chosen files for every field, summary.csv and report.html. Return a line for each field left out.

    With rules, all fields are measured first. Then each marker gets one cut-off from the cells of all of them, which is
    written to gates.json, and the types of the cells are written. Later calls use the same cut-offs for more fields.

    Fields that are finished are kept unless `overwrite` is set, so that the same call continues a prediction that was
    stopped. With `jobs`, several fields are in progress at a time, and the results are the same. A field that fails,
    such as a damaged file or one too large for the memory, is left out; a full disk stops the prediction. However it
    ends, summary and report cover the fields that are finished.
    """
    options, model = options or CellOptions(), model or ModelOptions()
    images, failed = field_images(inputs)
    folder = ResultFolder(Path(out), options, result_settings(runs, options, model), provenance(model))
    todo = folder.unfinished(images)
    if todo:
        gates = known_gates(folder.out, options, folder.kept_records(images), folder.settings)
        ensemble = load_ensemble(runs, model)
        scale = _scale(folder, ensemble, images)
        prediction = _Prediction(folder, images, ensemble, scale=scale, gates=gates, progress=progress)
        prediction.typer = typer_of(options, model)
        try:
            prediction.predict(todo, failed)
        except BaseException:
            with suppress(OSError, UserError):  # the first error is reported, even if the disk is full for these too
                folder.finish(failed)
            raise
    folder.finish(failed)
    warn_if_all_empty([folder.records[name]["cells"] for name in images if name in folder.records])
    return failed


def _scale(folder: ResultFolder, ensemble: Ensemble, images: dict[str, Path]) -> str | Scale:
    """Return the scale that all fields share, which is that of finished ones; as given if each has its own."""
    options = folder.options
    if options.scale != "auto" or options.scale_per == "field":
        return options.scale
    finished = folder.scale(images)
    if finished is not None:
        return finished
    paths = list(images.values())
    with ExitStack() as stack:
        pixels, sizes = [], []
        for i in sample_of(len(paths)):
            with suppress(UserError):  # it is reported when its turn comes
                field = stack.enter_context(open_field(paths[i], options.pixel_size_um))
                pixels.append(ensemble.pixels(field, options.channels))
                sizes.append(field.pixel_size_um)
        scale = choose_scale(ensemble, pixels, sizes, "auto") if pixels else Scale()
    log.info("the fields are predicted at %g times their size (by %s)", scale.factor, scale.by)
    return scale


class _Prediction:
    """Measures fields and writes their results; the cut-offs of markers may need all fields in between."""

    def __init__(
        self,
        folder: ResultFolder,
        images: dict[str, Path],
        ensemble: Ensemble,
        *,
        scale: str | Scale,
        gates: Gates | None,  # None: make them if the rules need them
        progress: Progress | None,
    ):
        self.folder, self.images, self.ensemble = folder, images, ensemble
        self.scale, self.gates, self.progress = scale, gates, progress
        self.typer: CellTyper | None = None  # a classifier of single cells, in place of rules

    def predict(self, todo: Sequence[str], failed: list[str]) -> None:
        """Measure the fields and write their results, and add a line to `failed` for each that cannot be predicted."""
        options = self.folder.options
        if self.gates is not None or not makes_gates(options):
            self._each(todo, failed, self._measure, self._write)
            return
        measured = self._each(todo, failed, self._measure)
        if measured:
            rules = options.rule_set
            assert rules is not None
            tables = {n: gated_columns(self.folder.measured(n).cells(), rules) for n in measured}
            self.gates = make_gates(self.folder.out, options, tables)
        self._each(measured, failed, self._write)

    def _each(self, names: Sequence[str], failed: list[str], *steps: Callable[[str], None]) -> list[str]:
        """Take the steps with each field; return the fields with which all succeeded."""
        jobs = self.folder.options.jobs

        def why_not(name: str) -> str | None:
            try:
                for step in steps:
                    step(name)
            except Exception as e:  # engines raise exceptions of their own: whatever it is, the others continue
                self.folder.measured(name).remove()
                return left_out(e, self.images[name])
            return None

        done = []
        for i, (name, line) in enumerate(zip(names, side_by_side(why_not, names, jobs), strict=True), 1):
            if line is None:
                done.append(name)
            else:
                failed.append(line)
            if self.progress and jobs > 1:
                self.progress("fields", i / len(names))
        return done

    def _measure(self, name: str) -> None:
        """Predict a field, and write its cells, its labels and the files that hold no types into a hidden folder."""
        options, image, place = self.folder.options, self.images[name], self.folder.measured(name)
        if self.folder.is_measured(name, image):
            return
        with place.new(), open_field(image, options.pixel_size_um) as field:
            self._check(field, name)
            with predict_field(
                self.ensemble,
                field,
                channels=options.channels,
                nuclei=options.nuclei,
                ring_um=options.ring_um,
                scale=self.scale,
                keep=planes_of(options.kinds),
                scratch=place.folder,
                progress=partial(self.progress, name) if self.progress and options.jobs == 1 else None,
            ) as predicted:
                for kind, target in self.folder.targets(name).items():
                    if not KINDS[kind].has_types:
                        KINDS[kind].write(place.folder / target.name, Result(predicted))
                place.save(predicted, self.folder.facts(name, image))

    def _check(self, field: Field, name: str) -> None:
        """Raise a `UserError` for what would otherwise fail only after the prediction."""
        options = self.folder.options
        height, width = field.shape
        check_size(options.kinds, field.path, (height, width))
        if self.typer:
            check_channels(self.typer, field)
        if options.rule_set:  # tried on a field without cells
            none = np.zeros((1, 1), np.int32)
            planes = {c: none.astype(np.float32) for c in field.channels}
            cells = measure_cells(none, planes, ring_um=options.ring_um)
            cells.attrs["path"] = str(field.path)
            self._with_types(name, cells, options.rule_set)

    def _with_types(self, name: str, cells: pd.DataFrame, rules: Rules) -> pd.DataFrame:
        """The cells with their types. Before there are gates, any cut-off will do."""
        given = self.folder.options.markers_above
        if self.gates is None:
            given = {m: [0.0] * (1 + (m in rules.with_two_cuts)) for m in rules.markers} | given
        tables = add_phenotypes({name: cells}, rules, given, gates=self.gates, origins={name: origin_of(name)})
        return tables[name]

    def _write(self, name: str) -> None:
        """Determine the types of a measured field's cells and write its results."""
        options, image = self.folder.options, self.images[name]
        with open_field(image, options.pixel_size_um) as field:
            predicted = self.folder.measured(name).load(field)
            if options.rule_set:
                predicted.cells = self._with_types(name, predicted.cells, options.rule_set)
            if self.typer:
                predicted.cells = typed_cells(self.typer, predicted, options.min_confidence)
            channel = self.ensemble.channel_indices(field, options.channels)[0]
            self.folder.write(name, image, Result(predicted, channel, options.radius_um))
        n = self.folder.records[name]["cells"]
        log.info("%s: %d cells", image, n)
        if n == 0:
            warn_of_empty_field(image)
