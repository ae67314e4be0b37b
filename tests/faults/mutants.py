"""Damaged copies of files, and what the readers make of them: `make fuzz` tries those of all formats for an hour."""

import collections
import logging
import sys
import time
from collections.abc import Iterator
from logging.handlers import BufferingHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dedl_fastai.errors import UserError

from .formats import FORMATS, Format

COLUMNS = ("tried", "refused", "same", "warned of", "explained", "SILENT", "EXCEPTION", "SLOW", "LARGE")
FAULTS = COLUMNS[5:]  # read as something else although it can be told; no `UserError`; over time; over memory
SLOW_S, LARGE_BYTES = 10, 1.5e9


def mutants(raw: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Damaged copies without end, each with what was done to it."""
    while True:
        a, b = sorted(int(i) for i in rng.integers(0, len(raw), 2))
        yield "cut", raw[:b]
        yield "zeroed to its end", raw[:a] + bytes(len(raw) - a)
        yield "bit", raw[:a] + bytes([raw[a] ^ (1 << int(rng.integers(8)))]) + raw[a + 1 :]
        yield "byte", raw[:a] + bytes([int(rng.choice([0, 1, 10, 127, 128, 255]))]) + raw[a + 1 :]
        yield "16 zeros", raw[:a] + bytes(min(16, len(raw) - a)) + raw[a + 16 :]
        yield "doubled", raw[:a] + raw[a : a + 8] + raw[a:]
        yield "removed", raw[:a] + raw[b:]
        yield "4 bytes", raw[:a] + rng.bytes(4) + raw[a + 4 :]


class _Warnings(BufferingHandler):
    """Whether the package has logged a warning."""

    def __init__(self) -> None:
        super().__init__(1000)
        self.setLevel(logging.WARNING)

    def __enter__(self) -> "_Warnings":
        logging.getLogger("dedl_fastai").addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger("dedl_fastai").removeHandler(self)


def _memory(reset: bool) -> int:
    """Peak of the resident memory in bytes since the last reset; 0 where the system does not tell."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():
        return 0
    if reset:
        clear.write_text("5")
    return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def outcome(format: Format, path: Path, expected: Any, can_be_told: bool) -> tuple[str, str]:
    """One of `COLUMNS` for a damaged file, and what happened."""
    started, before = time.perf_counter(), _memory(reset=True)
    with _Warnings() as warnings:
        try:
            found = format.read(path)
        except UserError as e:
            result = ("refused" if str(e).isprintable() else "EXCEPTION", repr(e))
        except Exception as e:  # the fault that is looked for
            result = ("EXCEPTION", repr(e))
        else:
            different = "warned of" if warnings.buffer else "SILENT" if can_be_told else "explained"
            result = ("same" if found == expected else different, "read as something else")
    if time.perf_counter() - started > SLOW_S:
        return "SLOW", f"{time.perf_counter() - started:.0f} s, {result}"
    if _memory(reset=False) - before > LARGE_BYTES:
        return "LARGE", f"{_memory(reset=False) - before} bytes, {result}"
    return result


def try_format(name: str, n: int, folder: Path, seed: int = 0) -> tuple[collections.Counter, dict[str, bytes]]:
    """Try `n` damaged copies of a file: how often each of `COLUMNS` was the outcome, and a file for each fault."""
    format = FORMATS[name]
    path = folder / format.file
    format.write(path)
    raw, expected = path.read_bytes(), format.read(path)
    checked = format.checked(raw)
    counts: collections.Counter = collections.Counter(tried=n)
    faults: dict[str, bytes] = {}
    for _, (what, mutant) in zip(range(n), mutants(raw, np.random.default_rng(seed)), strict=False):
        path.write_bytes(mutant)
        result, text = outcome(format, path, expected, format.can_be_told(what, raw, mutant, checked=checked))
        counts[result] += 1
        if result in FAULTS:
            faults.setdefault(f"{result}: {what}: {text}", mutant)
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
    total["all"] = sum(total.values(), collections.Counter())
    lines = ["format    " + "".join(f"{column:>11}" for column in COLUMNS)]
    lines += [f"{name:10}" + "".join(f"{counts[column]:11}" for column in COLUMNS) for name, counts in total.items()]
    for i, (what, raw) in enumerate(faults.items()):
        Path(f"fault-{i}.bin").write_bytes(raw)
        lines.append(f"fault-{i}.bin {what[:200]}")
    sys.stdout.write("\n".join(lines) + "\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
