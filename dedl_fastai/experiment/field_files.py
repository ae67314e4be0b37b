"""Which image files a user's inputs mean, and what their fields are called."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError
from .outputs import KINDS
from .predictions import image_files

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
