"""`score_against`: predictions scored against the masks of each annotator, beside the truth that training uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ...cells.options import NucleiOptions
from ...data.annotators import annotators_of
from ...data.cache import check_same_size
from ...io.masks import holds_ids, read_labels
from ..known_part import known_objects
from ..object_matches import Matches, count_matches, mean_f1, pool_matches
from ..objects import found_nuclei
from ..pixel_counts import BoundaryCounts, Counts, pixel_scores
from ..whole_fields import FieldPrediction, with_thresholds


@dataclass
class Scored:
    """What is counted against the masks of one annotator."""

    pixels: Counts = field(default_factory=Counts)
    boundary: BoundaryCounts = field(default_factory=BoundaryCounts)
    n_fields: int = 0
    nuclei: list[Mapping[float, Matches]] = field(default_factory=list)  # of fields whose masks hold ids

    def add(self, mask: np.ndarray, truth: np.ndarray) -> None:
        """Count the pixels of a field."""
        self.pixels += Counts.of(mask, truth)
        self.boundary += BoundaryCounts.of(mask, truth)
        self.n_fields += 1

    def scores(self) -> dict[str, Any]:
        """Return the scores of the pixels, and of the nuclei if masks hold ids."""
        pixels = {k: round(v, 6) for k, v in pixel_scores(self.pixels, self.boundary).items()}
        scores: dict[str, Any] = {"n_fields": self.n_fields, **pixels}
        if self.nuclei:
            pooled = pool_matches(self.nuclei)
            scores["f1_50"] = round(pooled[0.5].scores()["f1"], 6)
            scores["f1_mean"] = mean_f1(pooled)
        return scores


def score_against(
    predictions: list[FieldPrediction],
    table: pd.DataFrame,  # cohort table of these fields
    threshold: float | Sequence[float],  # one for all fields, or one for each
    options: NucleiOptions | None = None,
) -> dict[str, dict[str, Any]]:
    """Return name -> pooled scores of the fields of which an annotator has masks; {} without annotators.

    The labels of one field and annotator are in memory at a time.
    """
    columns = annotators_of(table)
    if not columns:
        return {}
    files = table.set_index("field")[list(columns.values())].rename(columns={c: n for n, c in columns.items()})
    scored = {name: Scored() for name in columns}
    for prediction, value in with_thresholds(predictions, threshold):
        of_field = {str(name): str(path) for name, path in files.loc[prediction.source.field].items()}
        _add_field(scored, prediction, value, files=of_field, options=options or NucleiOptions())
    return {name: s.scores() for name, s in scored.items() if s.n_fields}


def _add_field(
    scored: Mapping[str, Scored],
    prediction: FieldPrediction,
    threshold: float,
    *,
    files: Mapping[str, str],  # the mask of each annotator, "" without one
    options: NucleiOptions,
) -> None:
    mask, found = prediction.mask(threshold), None
    for name, path in files.items():
        if not path:
            continue
        labels = read_labels(path)
        check_same_size(prediction.image, mask.shape, path, labels.shape)
        scored[name].add(mask, labels)
        if holds_ids(path, labels) is not False:
            found = found_nuclei(prediction, threshold, options) if found is None else found
            scored[name].nuclei.append(count_matches(*known_objects(found, labels)))
