"""The run folder: which files it holds, and the facts written into them."""

import csv
import hashlib
import importlib.metadata
import io
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..data.cohort import Cohort
from ..errors import UserError
from ..io.files import read_json, write_json
from ..models.device import cpu_name

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


@dataclass(frozen=True)
class RunFolder:
    """Paths and JSON files of one run."""

    path: Path

    @classmethod
    def at(cls, path: str | Path) -> "RunFolder":
        """The run folder at `path`, which need not exist yet."""
        return cls(Path(path).expanduser().resolve())

    @classmethod
    def existing(cls, path: str | Path) -> "RunFolder":
        """The run folder at `path`, or a `UserError` if there is no trained model in it."""
        run = cls.at(path)
        if not run.path.is_dir():
            raise UserError(f"{run.path} does not exist: a run folder is needed.")
        if not (run.path / "model.json").is_file():
            members = sorted(p.parent.name for p in run.path.glob("*/model.json"))
            hint = (
                f"it holds the runs {', '.join(members[:4])}: name one of them" if members else "it has no model.json"
            )
            raise UserError(f"{run.path} is not a run folder: {hint}.")
        return run

    @property
    def is_started(self) -> bool:
        """True once the options are written."""
        return (self.path / "config.json").is_file()

    @property
    def is_complete(self) -> bool:
        """True once the metrics are written and nothing is left to resume."""
        return (self.path / "metrics.json").is_file() and not (self.path / "resume.pt").exists()

    def read(self, name: str) -> Any:
        """The value of one of the JSON files."""
        return read_json(self.path / f"{name}.json")

    def write(self, name: str, value: Any) -> None:
        """Write one of the JSON files, whole or not at all."""
        write_json(self.path / f"{name}.json", value)

    def history(self) -> list[dict[str, str]]:
        """The rows of history.csv, an epoch each."""
        with (self.path / "history.csv").open(newline="", encoding="utf-8") as f:
            return list(csv.DictReader(f))

    def figure(self, name: str) -> Path:
        """Path of a figure."""
        return self.path / "figures" / f"{name}.png"

    def finish(self) -> None:
        """Remove the resume state: the run is complete."""
        (self.path / "resume.pt").unlink(missing_ok=True)


def history_text(rows: list[dict[str, Any]]) -> str:
    """The rows of history.csv as text; columns that a row lacks stay empty."""
    out = io.StringIO()
    columns = list(dict.fromkeys(k for row in rows for k in row))
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def manifest(seed: int, workers: int, device: torch.device, cohort: Cohort) -> dict[str, Any]:
    """Versions, machine and data of a run, for the record."""
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
    """Versions of the packages that results depend on; empty for one that is missing."""
    return {p: _version(p) for p in _PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def data_fingerprint(cohort: Cohort) -> str:
    """A hash of the fields: names, patients, splits, and the size and both ends of every image, mask and cell table."""
    digest = hashlib.sha256()
    for row in cohort.table.itertuples():
        digest.update(f"{row.field}|{row.patient}|{row.split}|{row.labels}".encode())
        for path in filter(None, (row.image, row.mask, getattr(row, "cells", ""))):
            digest.update(_ends(Path(path)))
    return digest.hexdigest()[:16]


def _ends(path: Path, n: int = 65536) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(n)
        f.seek(max(0, size - n))
        return str(size).encode() + head + f.read(n)
