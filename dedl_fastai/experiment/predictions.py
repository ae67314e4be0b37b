"""`predict_classes`: a CSV of probabilities and labels of new fields; and which files a user's inputs mean."""

import errno
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.cohort import Cohort
from ..data.layouts import LAYOUTS, images_in
from ..errors import UserError
from ..inference.classifier import Classifier
from ..inference.load import load_run
from ..io.fields.zarr_field import is_zarr
from ..io.files import written_whole
from ..scores.class_labels import predicted_labels

log = logging.getLogger(__name__)

_STOPS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # errors that every other field would meet as well


def predict_classes(
    runs: Sequence[str | Path],  # of the same classes: their probabilities and thresholds are averaged
    inputs: Iterable[str | Path],  # image files, or folders of them
    out: str | Path,
    which: str = "best",
    device: str = "auto",
) -> list[str]:
    """Write `out`/predictions.csv, a row a field: file, labels, a probability a class. Returns what was left out."""
    models = _loaded(runs, which, device)
    classes, thresholds = models[0].classes, np.mean([m.thresholds for m in models], axis=0)
    images, failed = image_files(inputs)
    rows = []
    for image in images:
        try:
            p = np.mean([list(m.predict(image).values()) for m in models], axis=0)
        except Exception as e:  # engines and decoders raise types of their own: a field costs a line, whatever it was
            failed.append(left_out(e, image))
            continue
        labels = ";".join(c for c, there in zip(classes, predicted_labels(p, thresholds), strict=True) if there)
        rows.append({"image": image, "labels": labels, **dict(zip(classes, p.round(6).tolist(), strict=True))})
        log.info("%s: %s", image, labels or "none")
    if rows:
        with written_whole(Path(out) / "predictions.csv") as tmp:
            pd.DataFrame(rows).to_csv(tmp, index=False)
    return failed


def _loaded(runs: Sequence[str | Path], which: str, device: str) -> list[Classifier]:
    models = [load_run(r, which, device) for r in runs]
    for run, model in zip(runs, models, strict=True):
        if not isinstance(model, Classifier):
            raise UserError(
                f"{run} is a segmentation run, {runs[0]} a classification: predict with one kind at a time."
            )
        if model.classes != models[0].classes:
            names = ", ".join(model.classes)
            raise UserError(f"{run} does not fit the first run: its classes are {names}.")
    return models


def left_out(e: Exception, image: str | Path) -> str:
    """The line for a field that failed; raises a `UserError` where the disk is full: the others would fail as well."""
    cause = e.__cause__ if isinstance(e, UserError) else e
    if isinstance(cause, OSError) and cause.errno in _STOPS:
        raise e if isinstance(e, UserError) else UserError(f"{image}: {cause.strerror}, nothing more can be written.")
    if isinstance(e, UserError):
        return str(e)
    log.debug("%s", image, exc_info=e)
    if isinstance(e, MemoryError):
        return f"{image} needs more memory than there is."
    return f"{image}: {type(e).__name__}: {next(iter(str(e).splitlines()), '')}"


def image_files(inputs: Iterable[str | Path]) -> tuple[list[str], list[str]]:
    """The files themselves and the images in the folders, and a line for each image that a cohort lists and lacks.

    `UserError` for an input that is not there.
    """
    files: list[str] = []
    lost: list[str] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise UserError(f"{path} does not exist.")
        found, absent = ([str(path)], []) if path.is_file() or _is_zarr(path) else _in_folder(path)
        files += found
        lost += absent
    return files, lost


def _is_zarr(path: Path) -> bool:
    """True for one image in a folder of its own, also for one that lacks its metadata: it is told when it is opened."""
    return path.is_dir() and (path.suffix == ".zarr" or is_zarr(path))


def _in_folder(folder: Path) -> tuple[list[str], list[str]]:
    """The images of a cohort and lines for those it lacks, or the images in a folder that is no cohort.

    `UserError` if there are none.
    """
    if all(find(folder) is None for find in LAYOUTS.values()):
        zarrs = [p for p in folder.iterdir() if _is_zarr(p) and not p.name.startswith(".")]
        plain = sorted([*images_in(folder), *zarrs])
        if plain:
            return [str(p) for p in plain], []
    cohort = Cohort.load(folder)
    return list(cohort.table.image), _lost_images(cohort)


def _lost_images(cohort: Cohort) -> list[str]:
    """Lines for the images that a cohort lists and lacks; masks and tables are not needed here."""
    lost = [p for p in cohort.problems if not (cohort.root / p.path).exists()]
    if cohort.layout == "manifest":
        listed = pd.read_csv(cohort.root / "cohort.csv", dtype=str, keep_default_na=False)["image"]
        images = {str((cohort.root / image).resolve()) for image in listed}
        lost = [p for p in cohort.problems if p.path in images]
    return [str(p) for p in lost]
