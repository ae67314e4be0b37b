"""The run folder: its files, and the record of versions, machine and data of a run."""

import csv
import hashlib
import importlib.metadata
import io
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..data.cohort import Cohort
from ..errors import UserError
from ..io.fields.zarr_field import METADATA, files_of_folder
from ..io.files import is_temporary, read_json_object, write_json
from ..io.masks import files_of_mask
from ..models.names import NUCLEI, NUCLEI_RUN

if TYPE_CHECKING:  # torch takes seconds to import, and commands that read a run's files do without it
    import torch

_PACKAGES = (
    "fastai",
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "numpy",
    "tifffile",
    "scikit-image",
)


_BEFORE_START = ("manifest.json", "splits.json", "model.json")  # written before config.json, as `open_run` does


@dataclass(frozen=True)
class RunFolder:
    """Paths and JSON files of a run."""

    path: Path

    @classmethod
    def at(cls, path: str | Path) -> "RunFolder":
        """Return the run folder at `path`, which need not exist."""
        return cls(Path(path).expanduser().resolve())

    @classmethod
    def existing(cls, path: str | Path) -> "RunFolder":
        """Return the run folder at `path`, or the packaged model for "nuclei"; `UserError` without a trained model."""
        run = cls.at(NUCLEI_RUN if str(path) == NUCLEI else path)
        if not run.path.is_dir():
            raise UserError(f"{run.path} does not exist: a run folder is needed.")
        if not (run.path / "model.json").is_file():
            members = sorted(p.parent.name for p in run.path.glob("*/model.json"))
            hint = (
                f"it contains the runs {', '.join(members[:4])}: name one of them"
                if members
                else "it has no model.json"
            )
            raise UserError(f"{run.path} is not a run folder: {hint}.")
        return run

    @property
    def is_started(self) -> bool:
        """True if the options have been written."""
        return (self.path / "config.json").is_file()

    @property
    def is_unused(self) -> bool:
        """True for an empty folder, and for one with no more than a run has written before it counts as started."""
        if not self.path.is_dir() or self.is_started:
            return False
        return all(p.name in _BEFORE_START or is_temporary(p) for p in self.path.iterdir())

    @property
    def is_complete(self) -> bool:
        """True if the metrics have been written and there is nothing to resume."""
        return (self.path / "metrics.json").is_file() and not (self.path / "resume.pt").exists()

    def read(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file, named without its extension; `UserError` for another value."""
        return read_json_object(self.path / f"{name}.json")

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file, whole or not at all."""
        write_json(self.path / f"{name}.json", value)

    def history(self) -> list[dict[str, str]]:
        """Return the rows of history.csv, one per epoch."""
        with (self.path / "history.csv").open(newline="", encoding="utf-8") as f:
            return list(csv.DictReader(f))

    def figure(self, name: str) -> Path:
        """Return the path of a figure."""
        return self.path / "figures" / f"{name}.png"

    def finish(self) -> None:
        """Remove the state for resuming: the run is complete."""
        (self.path / "resume.pt").unlink(missing_ok=True)


def history_text(rows: list[dict[str, Any]]) -> str:
    """The rows of history.csv as text; columns that a row lacks stay empty."""
    out = io.StringIO()
    columns = list(dict.fromkeys(k for row in rows for k in row))
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def manifest(seed: int, workers: int, device: "torch.device", cohort: Cohort) -> dict[str, Any]:
    """Return the versions, machine and data of a run, for manifest.json."""
    import torch

    from ..models.device import cpu_name

    return {
        "dedl_fastai": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "seed": seed,
        "workers": workers,
        "data": {"root": str(cohort.root), "layout": cohort.layout, "fingerprint": data_fingerprint(cohort)},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on, "" for missing ones."""
    return {p: _version(p) for p in _PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def data_fingerprint(cohort: Cohort) -> str:
    """Return a hash of the fields: names, patients, splits, labels, and the size and both ends of every file.

    Of an image that is a folder (OME-Zarr), both ends of its metadata count, and names and sizes of its chunks.
    """
    digest = hashlib.sha256()
    for row in cohort.table.itertuples():
        digest.update(f"{row.field}|{row.patient}|{row.split}|{row.labels}".encode())
        masks = files_of_mask(str(row.mask)) if row.mask else []
        for path in map(Path, filter(None, (row.image, *masks, getattr(row, "cells", "")))):
            digest.update(_facts_of_folder(path) if path.is_dir() else _ends(path))
    return digest.hexdigest()[:16]


def _facts_of_folder(folder: Path) -> bytes:
    files = files_of_folder(folder)
    metadata = b"".join(_ends(p) for p in files if p.name in METADATA)
    return metadata + "".join(f"{p.relative_to(folder).as_posix()} {p.stat().st_size}\n" for p in files).encode()


def _ends(path: Path, n: int = 65536) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(n)
        f.seek(max(0, size - n))
        return str(size).encode() + head + f.read(n)
