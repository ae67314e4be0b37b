"""`OuterFold`: the runs that are tested on the same patients, in a folder with test folds."""

from dataclasses import dataclass
from typing import Any

from ..data.cohort import Cohort
from ..training.run_folder import RunFolder


@dataclass(frozen=True)
class OuterFold:
    """Runs with the same split: those of one seed or several."""

    name: str
    cohort: Cohort  # split
    runs: list[RunFolder]

    def facts(self) -> dict[str, Any]:
        """Return the names of the runs and the tested patients, for metrics.json."""
        tested = self.cohort.part("test").table
        patients = sorted(set(tested.patient))
        return {"members": [run.path.name for run in self.runs], "patients": patients, "n_fields": len(tested)}
