"""Files of each format, their damaged copies, and what the readers make of them: `make fuzz` tries them for an hour."""

import collections
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from dedl_fastai.data import Cohort
from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, read_cell_table, read_labels, read_segmentation_maps
from dedl_fastai.io.files import read_json_object
from dedl_fastai.phenotypes import Rules

NUCLEI = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((6, 6), int)).astype(np.uint16)
PICTURE = np.random.default_rng(0).integers(0, 255, (3, 40, 40)).astype(np.uint8)
TABLE = "Cell ID\tPhenotype\tCD4 Mean\tConfidence\n" + "".join(f"{i}\tT\t{i}.25\t97.5 %\n" for i in range(1, 9))
MAP = "<SegmentationImage><CompartmentType>Nucleus</CompartmentType></SegmentationImage>"
SLOW_S = 10


def planes(path: Path) -> Any:
    with open_field(path) as field:
        return [field.read(i).tolist() for i in range(len(field.channels))], field.channels


def _tiff(pixels: np.ndarray, **how: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, pixels, **how)


def _manifest(path: Path) -> None:
    path.write_text("image,mask,patient,split\na.png,,P1,train\nb.png,,P2,test\n")
    for name in "ab":
        path.with_name(f"{name}.png").touch()


FORMATS: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], Any]]] = {  # ending, writer, reader
    "png": ("a.png", lambda p: Image.fromarray(NUCLEI.astype(np.uint8)).save(p), lambda p: read_labels(p).tolist()),
    "jpeg": ("a.jpg", lambda path: Image.fromarray(np.moveaxis(PICTURE, 0, -1)).save(path), planes),
    "deflate": ("a.tif", _tiff(PICTURE, compression="deflate", rowsperstrip=16, photometric="minisblack"), planes),
    "lzw": ("a.tif", _tiff(PICTURE, compression="lzw", rowsperstrip=16, photometric="minisblack"), planes),
    "imagej": ("a.tif", _tiff(PICTURE, imagej=True, metadata={"axes": "CYX"}), planes),
    "ome": ("a.ome.tif", _tiff(PICTURE, ome=True, tile=(16, 16), compression="zlib", metadata={"axes": "CYX"}), planes),
    "mask": ("a.tif", _tiff(NUCLEI, compression="zlib"), lambda p: read_labels(p).tolist()),
    "maps": (
        "a.tif",
        _tiff(NUCLEI, compression="lzw", description=MAP, metadata=None),
        lambda p: {k: v.tolist() for k, v in read_segmentation_maps(p).items()},
    ),
    "table": ("a.txt", lambda path: path.write_text(TABLE), lambda p: read_cell_table(p).to_csv()),
    "manifest": (
        "cohort.csv",
        _manifest,
        lambda p: Cohort.load(p).table.to_csv(),
    ),
    "rules": ("a.txt", lambda path: path.write_text("b = CD19+ CD4-\nt = CD4+\n"), lambda p: Rules.load(p).classes),
    "json": ("a.json", lambda path: path.write_text('{"a": {"b": [1, 2.5, null]}}'), read_json_object),
}


def mutants(raw: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """Damaged copies without end: cut, bits flipped, bytes set, zeroed, doubled, removed or exchanged."""
    while True:
        a, b = sorted(int(i) for i in rng.integers(0, len(raw), 2))
        yield raw[:b]
        yield raw[:a] + bytes(len(raw) - a)
        yield raw[:a] + bytes([raw[a] ^ (1 << int(rng.integers(8)))]) + raw[a + 1 :]
        yield raw[:a] + bytes([int(rng.choice([0, 1, 10, 127, 128, 255]))]) + raw[a + 1 :]
        yield raw[:a] + bytes(min(16, len(raw) - a)) + raw[a + 16 :]
        yield raw[:a] + raw[a : a + 8] + raw[a:]
        yield raw[:a] + raw[b:]
        yield raw[:a] + rng.bytes(4) + raw[a + 4 :]


def outcome(read: Callable[[Path], Any], path: Path, expected: Any) -> str:
    """What a reader makes of a damaged file: refused, same or different; else the fault that it shows."""
    started = time.perf_counter()
    try:
        found = read(path)
    except UserError as e:
        result = "refused" if str(e).isprintable() else f"FAULT: not one line: {e!r}"
    except Exception as e:  # the fault that is looked for
        result = f"FAULT: {type(e).__name__}: {e}"
    else:
        result = "same" if found == expected else "different"
    return result if time.perf_counter() - started < SLOW_S else f"FAULT: {SLOW_S} s are over, {result}"


def try_format(name: str, n: int, folder: Path, seed: int = 0) -> tuple[collections.Counter, dict[str, bytes]]:
    """Try `n` damaged copies of a file: how often each outcome was, and a file for each fault."""
    file_name, write, read = FORMATS[name]
    path = folder / file_name
    write(path)
    raw, expected = path.read_bytes(), read(path)
    counts: collections.Counter = collections.Counter()
    faults: dict[str, bytes] = {}
    for _, mutant in zip(range(n), mutants(raw, np.random.default_rng(seed)), strict=False):
        path.write_bytes(mutant)
        result = outcome(read, path, expected)
        counts[result.split(":")[0]] += 1
        if result.startswith("FAULT"):
            faults.setdefault(result, mutant)
    return counts, faults


def main(seconds: float) -> int:
    """Try all formats in turn with new seeds until the time is over; print a table, and keep a file of each fault."""
    total = {name: collections.Counter() for name in FORMATS}
    faults: dict[str, bytes] = {}
    started, seed = time.perf_counter(), 0
    with TemporaryDirectory() as folder:
        while time.perf_counter() - started < seconds:
            seed += 1
            for name in FORMATS:
                counts, found = try_format(name, 100, Path(folder), seed)
                total[name] += counts
                faults |= {f"{name}: {what}": raw for what, raw in found.items()}
    lines = [f"{name:10} {', '.join(f'{n} {what}' for what, n in sorted(c.items()))}" for name, c in total.items()]
    for i, (what, raw) in enumerate(faults.items()):
        Path(f"fault-{i}.bin").write_bytes(raw)
        lines.append(f"fault-{i}.bin {what[:200]}")
    sys.stdout.write("\n".join(lines) + "\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
