"""A small file of each format, its reader, and which damage of it can be told from the file alone."""

import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from dedl_fastai.data import Cohort
from dedl_fastai.io import open_field, read_cell_table, read_labels, read_segmentation_maps
from dedl_fastai.io.files import read_json_object
from dedl_fastai.phenotypes import Rules

NUCLEI = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((6, 6), int)).astype(np.uint16)
NOISE = np.random.default_rng(0).integers(0, 255, (3, 40, 40)).astype(np.uint8)
TISSUE = np.clip(gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 3) * 1200 + 60, 0, 255)
TABLE = "Cell ID\tPhenotype\tCD4 Mean\tConfidence\n" + "".join(f"{i}\tT\t{i}.25\t97.5 %\n" for i in range(1, 9))
MAP = "<SegmentationImage><CompartmentType>Nucleus</CompartmentType></SegmentationImage>"
EVERY = ("cut", "zeroed to its end", "bit", "byte", "16 zeros", "doubled", "removed", "4 bytes")
GROSS = ("cut", "zeroed to its end", "16 zeros")


def planes(path: Path) -> Any:
    with open_field(path) as field:
        return [field.read(i).tolist() for i in range(len(field.channels))], field.channels


def _blocks(raw: bytes) -> list[range]:
    """Where the strips or tiles of a TIFF are: zlib has a checksum of each."""
    with tifffile.TiffFile(io.BytesIO(raw)) as tif:
        pages = [zip(p.dataoffsets, p.databytecounts, strict=True) for p in tif.pages]
    return [range(at, at + n) for page in pages for at, n in page]


@dataclass
class Format:
    """A file, by its name, writer and reader. Damage of the `tells` must be seen, and any within the `checked` parts.

    What else is read as something else is explained: nothing in the file contradicts it.
    """

    file: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    tells: Sequence[str] = ()
    checked: Callable[[bytes], list[range]] = lambda raw: []

    def can_be_told(self, what: str, raw: bytes, mutant: bytes, checked: list[range]) -> bool:
        """Whether this damage of a file can be told from the damaged file alone."""
        if what in self.tells or len(raw) != len(mutant):
            return what in self.tells
        changed = [i for i, (a, b) in enumerate(zip(raw, mutant, strict=True)) if a != b]
        if not any(changed and changed[0] in part and changed[-1] in part for part in checked):
            return False
        before, after = (zlib.adler32(data[changed[0] : changed[-1] + 1]) for data in (raw, mutant))
        return before != after  # the checksum is weak: by chance, other bytes have the same


def _tiff(pixels: np.ndarray, **how: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, pixels, **how)


def _manifest(path: Path) -> None:
    path.write_text("image,mask,patient,split\na.png,,P1,train\nb.png,,P2,test\n")
    for name in "ab":
        path.with_name(f"{name}.png").touch()


def _jpeg(path: Path) -> None:
    Image.fromarray(np.stack([TISSUE, TISSUE.T, TISSUE[::-1]], -1).astype(np.uint8)).save(path, quality=90)


def _maps(path: Path) -> Any:
    return {role: ids.tolist() for role, ids in read_segmentation_maps(path).items()}


def _text(text: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text(text)


GREY = {"photometric": "minisblack", "rowsperstrip": 16}
JPEG_TILES = _tiff(TISSUE.astype(np.uint8), compression="jpeg", tile=(32, 32))
OME = _tiff(NOISE, ome=True, tile=(16, 16), compression="zlib", metadata={"axes": "CYX"})
FORMATS: dict[str, Format] = {
    "png": Format(
        "a.png",
        lambda path: Image.fromarray(NUCLEI.astype(np.uint8)).save(path),
        lambda path: read_labels(path).tolist(),
        EVERY,
    ),
    "jpeg": Format("a.jpg", _jpeg, planes, GROSS),
    "jpeg tiles": Format("a.tif", JPEG_TILES, planes, GROSS),
    "deflate": Format("a.tif", _tiff(NOISE, compression="deflate", **GREY), planes, GROSS, _blocks),
    "lzw": Format("a.tif", _tiff(NOISE, compression="lzw", **GREY), planes, GROSS),
    "imagej": Format("a.tif", _tiff(NOISE, imagej=True, metadata={"axes": "CYX"}), planes, ("cut",)),
    "ome": Format("a.ome.tif", OME, planes, GROSS, _blocks),
    "mask": Format("a.tif", _tiff(NUCLEI, compression="zlib"), lambda path: read_labels(path).tolist(), GROSS, _blocks),
    "maps": Format("a.tif", _tiff(NUCLEI, compression="lzw", description=MAP, metadata=None), _maps, GROSS),
    "table": Format("a.txt", _text(TABLE), lambda path: read_cell_table(path).to_csv()),
    "manifest": Format("cohort.csv", _manifest, lambda path: Cohort.load(path).table.to_csv()),
    "rules": Format("a.txt", _text("b = CD19+ CD4-\nt = CD4+\n"), lambda path: Rules.load(path).classes),
    "json": Format("a.json", _text('{"a": {"b": [1, 2.5, null]}}'), read_json_object, ("cut", "zeroed to its end")),
}
