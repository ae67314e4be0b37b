"""`predict_cells`: predict the nuclei of fields of any size, and write masks, tables and outlines of their cells."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..cells.measure import measure_cells
from ..cells.phenotyping import add_phenotypes
from ..errors import UserError
from ..inference.cell_types import CellTyper
from ..inference.ensemble import Ensemble
from ..inference.field_cells import predict_field
from ..inference.scale import Scale, choose_scale, sample_of, scale_from_dict
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from ..io.files import written_whole
from .cell_types import check_channels, typed_cells, typer_of
from .inputs import field_images, left_out
from .kinds import KINDS, Result, check_size
from .options import CellOptions, ModelOptions
from .record import (
    Record,
    check_settings,
    field_record,
    in_order,
    read_records,
    record_file,
    summary_table,
    write_record,
)
from .report import write_report
from .settings import load_ensemble, provenance, result_settings

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]  # called with the field and the share that is done


def predict_cells(
    runs: Sequence[str | Path],
    inputs: Iterable[str | Path],  # image files, or folders of them
    out: str | Path,
    options: CellOptions | None = None,
    model: ModelOptions | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write the chosen files for every field, summary.csv and report.html. Return a line for each field left out.

    Fields that are finished are kept unless `overwrite` is set, so that the same call continues a prediction that was
    stopped. A field that fails, such as a damaged file or one too large for the memory, is left out; a full disk
    stops the prediction. However it ends, summary and report cover the fields that are finished.
    """
    options, model = options or CellOptions(), model or ModelOptions()
    images, failed = field_images(inputs)
    folder = _ResultFolder(Path(out), options, result_settings(runs, options, model), provenance(model))
    todo = folder.unfinished(images)
    if todo:
        ensemble = load_ensemble(runs, model)
        folder.typer = typer_of(options, model)
        scale = folder.scale(ensemble, list(images.values()))
        try:
            for name in todo:
                try:
                    folder.predict(ensemble, name, images[name], scale=scale, progress=progress)
                except Exception as e:  # engines raise exceptions of their own: whatever it is, the others continue
                    failed.append(left_out(e, images[name]))
        except BaseException:
            with suppress(OSError, UserError):  # the first error is reported, even if the disk is full for these too
                folder.finish(failed)
            raise
    folder.finish(failed)
    return failed


class _ResultFolder:
    """The folder of results: finds the fields that are finished in it, and adds the others."""

    def __init__(self, out: Path, options: CellOptions, settings: dict[str, Any], made: dict[str, Any]):
        self.out, self.options, self.settings, self.made = out, options, settings, made
        self.records: dict[str, Record] = {}
        self.typer: CellTyper | None = None

    def unfinished(self, images: dict[str, Path]) -> list[str]:
        """Return the fields to predict. Raise a `UserError` if existing results were made with other options."""
        try:
            (self.out / "fields").mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise UserError(f"{self.out} cannot be created ({e.strerror}): choose another `out`.") from e
        self.records = {r["field"]: r for r in read_records(self.out)}
        for name in self.records.keys() & images.keys():
            check_settings(self.records[name], images[name], self.settings, self.options.overwrite)
        todo = [n for n in images if self.options.overwrite or not self._is_finished(n)]
        if len(todo) < len(images):
            log.info("%d fields are kept: their files exist already", len(images) - len(todo))
        return todo

    def _targets(self, name: str) -> dict[str, Path]:
        return {kind: self.out / f"{name}{KINDS[kind].ending}" for kind in self.options.kinds}

    def _is_finished(self, name: str) -> bool:
        return all(self._is_current(name, kind, target) for kind, target in self._targets(name).items())

    def _is_current(self, name: str, kind: str, target: Path) -> bool:
        """True for a file that the record lists: others may be left from before `overwrite`, with other options."""
        return kind in self._kinds(name) and target.exists()

    def _kinds(self, name: str) -> list[str]:
        return self.records[name].get("kinds", []) if name in self.records else []

    def scale(self, ensemble: Ensemble, images: Sequence[Path]) -> str | Scale:
        """Return the scale that all fields share, which is that of finished ones; as given if each has its own."""
        if self.options.scale != "auto" or self.options.scale_per == "field":
            return self.options.scale
        finished = [] if self.options.overwrite else [r for r in self.records.values() if "scale" in r]
        if finished:  # with the same settings
            return scale_from_dict(finished[0]["scale"])
        with ExitStack() as stack:
            pixels, sizes = [], []
            for i in sample_of(len(images)):
                with suppress(UserError):  # it is reported when its turn comes
                    field = stack.enter_context(open_field(images[i], self.options.pixel_size_um))
                    pixels.append(ensemble.pixels(field, self.options.channels))
                    sizes.append(field.pixel_size_um)
            scale = choose_scale(ensemble, pixels, sizes, "auto") if pixels else Scale()
        log.info("the fields are predicted at %g times their size (by %s)", scale.factor, scale.by)
        return scale

    def predict(
        self, ensemble: Ensemble, name: str, image: Path, scale: str | Scale, progress: Progress | None
    ) -> None:
        """Predict a field and write its files; they appear together at the end, the record last."""
        options = self.options
        with open_field(image, options.pixel_size_um) as field, _scratch(self.out, name) as scratch:
            self._check(field)
            channel = ensemble.channel_indices(field, options.channels)[0]
            with predict_field(
                ensemble,
                field,
                channels=options.channels,
                nuclei=options.nuclei,
                ring_um=options.ring_um,
                scale=scale,
                keep=[plane for plane in ("probability", "uncertainty") if plane in options.kinds],
                scratch=scratch,
                progress=partial(progress, name) if progress else None,
            ) as predicted:
                if options.rule_set:
                    tables = add_phenotypes({str(image): predicted.cells}, options.rule_set, options.markers_above)
                    predicted.cells = tables[str(image)]
                if self.typer:
                    predicted.cells = typed_cells(self.typer, predicted, options.min_confidence)
                self._write(name, image, Result(predicted, channel, options.radius_um), scratch)
        log.info("%s: %d cells", image, self.records[name]["cells"])

    def _check(self, field: Field) -> None:
        """Raise a `UserError` for what would otherwise fail only after the prediction."""
        height, width = field.shape
        check_size(self.options.kinds, field.path, (height, width))
        if self.typer:
            check_channels(self.typer, field)
        rules = self.options.rule_set
        if rules:  # tried on a field without cells
            none = np.zeros((1, 1), np.int32)
            cells = measure_cells(none, {c: none.astype(np.float32) for c in field.channels})
            given = dict.fromkeys(rules.markers, 0.0) | self.options.markers_above
            add_phenotypes({str(field.path): cells}, rules, given)

    def _write(self, name: str, image: Path, result: Result, scratch: Path) -> None:
        targets, settings = self._targets(name), self.settings
        kept = [] if self.options.overwrite else self._kinds(name)  # same settings: only missing files are written
        if kept:
            targets = {kind: t for kind, t in targets.items() if not self._is_current(name, kind, t)}
            settings = self.records[name]["settings"] | settings  # with the radius of neighbours that stay
        for kind, target in targets.items():
            KINDS[kind].write(scratch / target.name, result)
        record_file(self.out, name).unlink(missing_ok=True)  # it no longer describes the files from here on
        for target in targets.values():
            (scratch / target.name).replace(target)
        record = field_record(name, image, result, settings=settings, made=self.made, kinds={*kept, *targets})
        write_record(self.out, record, result)
        self.records[name] = record
        self._write_summary(in_order(self.records.values()))

    def _write_summary(self, records: Sequence[Record]) -> None:
        with written_whole(self.out / "summary.csv") as tmp:
            summary_table(records).to_csv(tmp, index=False)

    def finish(self, failed: Sequence[str]) -> None:
        """Write summary and report of all fields in the folder, including those that another process wrote."""
        records = read_records(self.out)
        if records:
            self._write_summary(records)
        write_report(self.out, records, failed)


@contextmanager
def _scratch(out: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder in `out` and remove it at the end; remains of a killed process are removed first."""
    folder = out / f".{name}.part"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
