"""The inputs of a prediction: the image files they stand for, names of fields, and lines for fields left out."""

import errno
import logging
from collections.abc import Iterable
from pathlib import Path

from ..data.cohort import Cohort
from ..data.layouts import CORRECTIONS, LAYOUTS, images_in
from ..errors import UserError, one_line
from ..io.fields.zarr_field import image_folders, is_image_folder
from ..io.text_tables import read_text_table
from .kinds import KINDS

log = logging.getLogger(__name__)

_STOPS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # errors that every other field would meet as well
_WRITTEN = tuple(kind.ending for kind in KINDS.values())


def field_images(inputs: Iterable[str | Path]) -> tuple[dict[str, Path], list[str]]:
    """Return the image of each field by name, in the order given, and a line for each image missing from a cohort.

    Raises `UserError` if two images would share a name.
    """
    images: dict[str, Path] = {}
    lost: list[str] = []
    for given in map(Path, inputs):
        files, missing = image_files([given])
        lost += missing
        for path in (Path(f).absolute() for f in files if not (given.is_dir() and f.endswith(_WRITTEN))):
            name = field_name(path)
            if images.setdefault(name, path) != path:
                raise UserError(
                    f"{images[name]} and {path} are both the field {name!r}: rename one, or write the results to two "
                    f"folders."
                )
    return images, lost


def field_name(image: str | Path) -> str:
    """Return the file's name without the endings of its format."""
    name = Path(image).name
    for ending in (".ome.tif", ".ome.tiff", ".ome.zarr", ".qptiff", *Path(image).suffixes[-1:]):
        name = name.removesuffix(ending)
    return name.removesuffix("_component_data")


def left_out(e: Exception, image: str | Path) -> str:
    """Return the line for a field that failed. Raise a `UserError` for a full disk: the others would fail as well."""
    cause = e.__cause__ if isinstance(e, UserError) else e
    if isinstance(cause, OSError) and cause.errno in _STOPS:
        raise e if isinstance(e, UserError) else UserError(f"{image}: {cause.strerror}, no results can be written.")
    if isinstance(e, UserError):
        return str(e)
    log.debug("%s", image, exc_info=e)
    if isinstance(e, MemoryError):
        return f"{image} needs more memory than is available."
    return one_line(f"{image}: {type(e).__name__}: {next(iter(str(e).splitlines()), '')}")


def image_files(inputs: Iterable[str | Path]) -> tuple[list[str], list[str]]:
    """Return the image files, and those in folders, and a line for each image that a cohort lists but does not have.

    Raises `UserError` for an input that does not exist.
    """
    files: list[str] = []
    lost: list[str] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise UserError(f"{path} does not exist.")
        images, missing = ([str(path)], []) if path.is_file() or is_image_folder(path) else _in_folder(path)
        files += [image for image in images if _is_text(image)]
        lost += missing + [f"{image}: its name is not UTF-8: rename it." for image in images if not _is_text(image)]
    return files, [one_line(line) for line in lost]


def _is_text(name: str) -> bool:
    """False for a file name that is not UTF-8, which tables and reports cannot hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _in_folder(folder: Path) -> tuple[list[str], list[str]]:
    """Return the images of a cohort and lines for missing ones, or the images in a folder that is not a cohort.

    Raises `UserError` if there are none.
    """
    others = [find for name, find in LAYOUTS.items() if name != CORRECTIONS]  # results may be next to their images
    if all(find(folder) is None for find in others):
        plain = sorted([*images_in(folder), *image_folders(folder)])
        if plain:
            return [str(p) for p in plain], []
    cohort = Cohort.load(folder)
    return list(cohort.table.image), _missing_images(cohort)


def _missing_images(cohort: Cohort) -> list[str]:
    """Return lines for images that the cohort lists but does not have; masks and tables are not needed here."""
    lost = [p for p in cohort.problems if not (cohort.root / p.path).exists()]
    if cohort.layout == "manifest":
        listed = read_text_table(cohort.root / "cohort.csv", ",")["image"]
        images = {str((cohort.root / image).resolve()) for image in listed}
        lost = [p for p in cohort.problems if p.path in images]
    return [str(p) for p in lost]
