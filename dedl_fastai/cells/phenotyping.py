"""Apply the rules of `phenotypes` to a table of cells; number and density of the cells of each phenotype."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import UserError
from ..phenotypes.classify import classify_cells
from ..phenotypes.gates.fit import Cuts
from ..phenotypes.gates.gates import Gates, Origin
from ..phenotypes.rules import Rules
from .positions import centres, nearest_distances, phenotypes_of


def check_thresholds(rules: Rules | None, thresholds: Mapping[str, Cuts] | None) -> None:
    """Raise `UserError` for thresholds without rules, which would have no effect."""
    if thresholds and rules is None:
        raise UserError("`thresholds` are for the markers of rules: give `rules` too.")


def add_phenotypes(
    tables: Mapping[str, pd.DataFrame],  # field -> what `measure_cells` returned
    rules: Rules,
    thresholds: Mapping[str, Cuts] | None = None,
    *,
    gates: Gates | None = None,  # default: one for each marker, from the cells of all tables
    origins: Mapping[str, Origin] | None = None,  # field -> slide and patient, for gates of slides or patients
) -> dict[str, pd.DataFrame]:
    """Add `phenotype` (categorical, empty where no rule fits) and `nearest_<phenotype>` distances to the tables.

    A marker is positive where the mean intensity of nucleus and ring (of the nucleus if there is no ring) is above the
    given threshold, or else above the marker's gate; `.attrs["how"]` describes this and `.attrs["thresholds"]` holds
    the values. Distances are between centres of different cells, in um, or in pixels if
    the pixel size is unknown.
    """
    classified = classify_cells(tables, rules, thresholds, gates=gates, origins=origins)
    with_phenotypes = {}
    for name, table in tables.items():
        with_phenotypes[name] = with_types(table, classified.classes[name], classified.vocab, classified.how)
        with_phenotypes[name].attrs["thresholds"] = classified.thresholds
    return with_phenotypes


def with_types(table: pd.DataFrame, classes: pd.Series, vocab: Sequence[str], how: str) -> pd.DataFrame:
    """Add `phenotype` (categorical, empty for "") and `nearest_<phenotype>` distances; `how` goes to `.attrs`."""
    table = table.assign(phenotype=pd.Categorical(classes.where(classes != ""), categories=list(vocab)))
    table = table.assign(**nearest_distances(centres(table), table["phenotype"]))
    table.attrs["how"] = how
    return table


def field_summary(
    cells: pd.DataFrame,  # what `measure_cells` returned
    tissue_mm2: float | None = None,  # area that was searched for cells; None: no densities
) -> pd.DataFrame:
    """Count, share and density (per mm2) of the cells: one row per phenotype, and a last row "all" for all cells."""
    if tissue_mm2 is not None and not tissue_mm2 > 0:
        raise UserError(f"tissue_mm2={tissue_mm2:g} gives no density: give an area above 0, or leave `tissue_mm2` out.")
    counts = phenotypes_of(cells).value_counts(sort=False) if "phenotype" in cells else pd.Series(dtype=int)
    rows = pd.DataFrame({"phenotype": [*map(str, counts.index), "all"], "cells": [*counts, len(cells)]})
    rows["share"] = rows["cells"] / max(1, len(cells))
    rows["per_mm2"] = rows["cells"] / (tissue_mm2 or np.nan)
    return rows
