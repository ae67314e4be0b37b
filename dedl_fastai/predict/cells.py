"""`predict_cells`: predict the nuclei of fields of any size, and write masks, tables and outlines of their cells."""

import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..cells.none_found import warn_if_all_empty, warn_of_empty_field
from ..errors import UserError
from ..inference.scale import Scale
from ..phenotypes.gates.gates import Gates
from .correct import correct_results
from .field_predictor import FieldPredictor, FieldResult, FieldTask, Progress, ScaleTask, Work
from .folder_gates import known_gates, make_gates, makes_gates
from .inputs import field_images
from .on_cluster import fields_on_cluster
from .options import CellOptions, ModelOptions
from .result_folder import ResultFolder
from .settings import provenance, result_settings
from .side_by_side import FieldsHere

if TYPE_CHECKING:
    from ..cluster.workers import Workers

log = logging.getLogger(__name__)

Fields = Callable[[Callable[[FieldPredictor, Any], Any], Sequence[Any]], Generator[Any, None, None]]  # see `FieldsHere`


def predict_cells(
    runs: Sequence[str | Path],
    inputs: Iterable[str | Path],  # image files, or folders of them
    out: str | Path,
    options: CellOptions | None = None,
    model: ModelOptions | None = None,
    progress: Progress | None = None,
    workers: "Workers | None" = None,  # of a Dask cluster; None: this machine
) -> list[str]:
    """Write the chosen files for every field, summary.csv and report.html. Return a line for each field left out.

    With rules, all fields are measured first. Then each marker gets one cut-off from the cells of all of them, which is
    written to gates.json, and the types of the cells are written. Later calls use the same cut-offs for more fields.

    Fields that are finished are kept unless `overwrite` is set, so that the same call continues a prediction that was
    stopped. With `jobs`, several fields are in progress at a time, and with `workers` one on each of them, which write
    to `out` themselves; the results are the same. A field that fails, such as a damaged file or one too large for the
    memory, is left out; a full disk stops the prediction. However it ends, summary and report cover the fields that are
    finished.
    """
    options, model = options or CellOptions(), model or ModelOptions()
    images, failed = field_images(inputs)
    folder = ResultFolder(Path(out), options, result_settings(runs, options, model), provenance(model))
    todo = folder.unfinished(images)
    corrected = [name for name in todo if folder.records.get(name, {}).get("corrected")]
    if todo:
        gates = known_gates(folder.out, options, folder.kept_records(images), folder.settings)
        work = Work(tuple(map(str, runs)), folder.out, options, model, settings=folder.settings, made=folder.made)
        one_by_one = workers is None and options.jobs == 1
        where: AbstractContextManager[Fields] = (
            nullcontext(FieldsHere(work, progress if one_by_one else None))
            if workers is None
            else fields_on_cluster(work, workers, images.values())
        )
        with where as fields:
            prediction = _Prediction(folder, images, fields, scale=_scale(folder, fields, images))
            prediction.progress = None if one_by_one else progress
            try:
                prediction.predict(todo, failed, gates)
            except BaseException:
                with suppress(OSError, UserError):  # the first error is reported, even if the disk is full for these
                    folder.finish(failed)
                raise
    folder.finish(failed)
    if corrected:
        log.info("%d field(s) have corrections, which their new files show too", len(corrected))
        correct_results(folder.out, options.gates, options.cell_types)
    warn_if_all_empty([folder.records[name]["cells"] for name in images if name in folder.records])
    return failed


def _scale(folder: ResultFolder, fields: Fields, images: dict[str, Path]) -> str | Scale:
    """Return the scale that all fields share, which is that of finished ones; as given if each has its own."""
    options = folder.options
    if options.scale != "auto" or options.scale_per == "field":
        return options.scale
    finished = folder.scale(images)
    if finished is not None:
        return finished
    (scale,) = fields(FieldPredictor.scale, [ScaleTask(list(images.values()))])
    log.info("the fields are predicted at %g times their size (by %s)", scale.factor, scale.by)
    return scale


class _Prediction:
    """Measures fields and writes their results; the cut-offs of markers may need all fields in between."""

    def __init__(self, folder: ResultFolder, images: dict[str, Path], fields: Fields, *, scale: str | Scale):
        self.folder, self.images, self.fields, self.scale = folder, images, fields, scale
        self.progress: Progress | None = None  # of several fields at a time

    def predict(self, todo: Sequence[str], failed: list[str], gates: Gates | None) -> None:
        """Measure the fields and write their results, and add a line to `failed` for each that cannot be predicted.

        Without gates, they are made if the rules need them.
        """
        options = self.folder.options
        tasks = [self._task(name, gates) for name in todo]
        if gates is None and makes_gates(options):
            tables = self._each(FieldPredictor.measured, tasks, failed)
            gates = make_gates(self.folder.out, options, tables) if tables else None
            tasks = [self._task(name, gates, is_fresh=True) for name in tables]
        self._each(FieldPredictor.finished, tasks, failed)

    def _task(self, name: str, gates: Gates | None, is_fresh: bool = False) -> FieldTask:
        record = self.folder.records.get(name)
        return FieldTask(name, self.images[name], record, self.scale, gates=gates, is_fresh=is_fresh)

    def _each(
        self, step: Callable[[FieldPredictor, FieldTask], FieldResult], tasks: Sequence[FieldTask], failed: list[str]
    ) -> dict[str, pd.DataFrame]:
        """Take a step with each field; return the cells of those that were measured, note those that are finished."""
        tables = {}
        with closing(self.fields(step, tasks)) as results:
            for i, (task, result) in enumerate(zip(tasks, results, strict=True), 1):
                if result.left_out:
                    failed.append(result.left_out)
                if result.cells is not None:
                    tables[task.name] = result.cells
                if result.record is not None:
                    self.folder.add(result.record)
                    log.info("%s: %d cells", task.image, result.record["cells"])
                    if result.record["cells"] == 0:
                        warn_of_empty_field(task.image)
                if self.progress:
                    self.progress("fields", i / len(tasks))
        return tables
