"""`Study`: a folder of results and the models that it was made with, as far as their folders are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from ..io.files import existing_dir
from ..models.names import NUCLEI
from ..training.model_card import WEIGHT_FILES
from ..training.run_folder import RunFolder
from .corrections import warn_of_fields_behind
from .record import Record, read_records
from .settings import run_name


@dataclass(frozen=True)
class Study:
    """Records of results (none if only models are described), and the run folders by their names in the records."""

    results: Path | None
    records: Sequence[Record]
    runs: Mapping[str, RunFolder] = field(default_factory=dict)
    unknown_runs: Sequence[str] = ()  # models of the results whose folders were not given

    @property
    def settings(self) -> list[dict[str, Any]]:
        """The different settings of the fields."""
        return _unique(r["settings"] for r in self.records)

    @property
    def kinds(self) -> list[str]:
        """The kinds of files that were written for every field."""
        kinds = [r.get("kinds", []) for r in self.records]
        return [k for k in kinds[0] if all(k in of_field for of_field in kinds)] if kinds else []

    def images(self) -> list[Field]:
        """Open the images of the fields that can still be read where they were. Close them after use."""
        found = []
        for record in self.records:
            try:
                found.append(open_field(record["image"]))
            except (UserError, OSError):
                continue
        return found


def read_study(paths: Sequence[str | Path]) -> Study:
    """Read folders of results (at most one) and of runs. Raises `UserError` for a run that the results are not of."""
    folders = [existing_dir(p) for p in paths if str(p) != NUCLEI]
    results = [p for p in folders if (p / "fields").is_dir()]
    if len(results) > 1:
        raise UserError(f"{results[0]} and {results[1]} are both results: a report is about one folder.")
    given = [str(p) for p in paths if Path(p) not in results]
    if not results:
        return Study(None, [], {RunFolder.existing(p).path.name: RunFolder.existing(p) for p in given})
    records = read_records(results[0])
    if not records:
        raise UserError(f"{results[0]} has no finished field: predict some first.")
    warn_of_fields_behind(results[0], records)
    names = _model_names(records)
    runs = {_name_among(names, run, results[0]): RunFolder.existing(run) for run in given}
    if packaged := _known_name(names, NUCLEI):
        runs[packaged] = RunFolder.existing(NUCLEI)
    return Study(results[0], records, {n: runs[n] for n in names if n in runs}, [n for n in names if n not in runs])


def _model_names(records: Sequence[Record]) -> list[str]:
    """The models of the results as their records name them: segmentations, then classifiers of cells."""
    settings = [r["settings"] for r in records]
    return _unique(n for s in settings for n in s["runs"]) + _unique(
        s["cell_types"] for s in settings if s["cell_types"]
    )


def _name_among(names: Sequence[str], run: str, results: Path) -> str:
    name = _known_name(names, run)
    if name is None:
        raise UserError(f"{run} is not a model that {results} was made with: it was made with {', '.join(names)}.")
    return name


def _known_name(names: Sequence[str], run: str) -> str | None:
    """The name in the records of a run, which known by its weights even if it was renamed; None if it is not there."""
    weights = [run_name(run, which).rpartition(" (")[2] for which in WEIGHT_FILES]
    return next((name for name in names if name.rpartition(" (")[2] in weights), None)


def _unique(values: Any) -> list[Any]:
    """Each value once, in order of appearance; values need not be hashable."""
    unique: list[Any] = []
    for value in values:
        if value not in unique:
            unique.append(value)
    return unique
