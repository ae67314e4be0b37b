"""Which image files a user's inputs mean, what their fields are called, and the line for one that is left out."""

import errno
import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..data.cohort import Cohort
from ..data.layouts import LAYOUTS, images_in
from ..errors import UserError
from ..io.fields.zarr_field import is_zarr
from .kinds import KINDS

log = logging.getLogger(__name__)

_STOPS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # errors that every other field would meet as well
_WRITTEN = tuple(kind.ending for kind in KINDS.values())


def field_images(inputs: Iterable[str | Path]) -> tuple[dict[str, Path], list[str]]:
    """Name of each field and its image, in the order given, and lines for images that a cohort lists and lacks.

    `UserError` where two images would share a name.
    """
    images: dict[str, Path] = {}
    lost: list[str] = []
    for given in map(Path, inputs):
        files, absent = image_files([given])
        lost += absent
        for path in (Path(f).absolute() for f in files if not (given.is_dir() and f.endswith(_WRITTEN))):
            name = field_name(path)
            if images.setdefault(name, path) != path:
                raise UserError(
                    f"{images[name]} and {path} are both the field {name!r}: rename one, or predict them into two "
                    f"folders."
                )
    return images, lost


def field_name(image: str | Path) -> str:
    """The file's name without what formats add to it."""
    name = Path(image).name
    for ending in (".ome.tif", ".ome.tiff", ".ome.zarr", ".qptiff", *Path(image).suffixes[-1:]):
        name = name.removesuffix(ending)
    return name.removesuffix("_component_data")


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
