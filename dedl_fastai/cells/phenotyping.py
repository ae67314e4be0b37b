"""Phenotypes in the table of cells, and the cells and densities of each phenotype in a field."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..errors import UserError
from ..phenotypes.classify import classify_cells
from ..phenotypes.rules import Rules
from .neighbours import centres, nearest_distances, phenotypes_of


def check_thresholds(rules: Rules | None, thresholds: Mapping[str, float] | None) -> None:
    """`UserError` for thresholds that no rules ask for: they would do nothing."""
    if thresholds and rules is None:
        raise UserError("thresholds are for the markers of rules: give them.")


def add_phenotypes(
    tables: Mapping[str, pd.DataFrame],  # field -> what `measure_cells` returned
    rules: Rules,
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables with `phenotype` (categorical, empty where no rule fits) and `nearest_<phenotype>` distances.

    A marker is positive above the threshold given, else above Otsu's over the cells of all tables together, by the mean
    of nucleus and ring (of the nucleus without a ring): `.attrs["how"]` says it, `.attrs["thresholds"]` has the values.
    Distances are in um and in pixels where the pixel size is unknown, between centres, never to the cell itself.
    """
    found = classify_cells(tables, rules, thresholds)
    done = {}
    for name, table in tables.items():
        phenotype = pd.Categorical(found.classes[name].where(found.classes[name] != ""), categories=found.vocab)
        table = table.assign(phenotype=phenotype)
        table = table.assign(**nearest_distances(centres(table), table["phenotype"]))
        table.attrs |= {"how": found.how, "thresholds": found.thresholds}
        done[name] = table
    return done


def field_summary(
    cells: pd.DataFrame,  # what `measure_cells` returned
    tissue_mm2: float | None = None,  # area the cells were looked for in; without it no densities
) -> pd.DataFrame:
    """Cells, share of the cells and cells/mm2, one row a phenotype and a last one, "all", for every cell."""
    if tissue_mm2 is not None and not tissue_mm2 > 0:
        raise UserError(f"a tissue of {tissue_mm2:g} mm2 has no density: give its area, or none.")
    counts = phenotypes_of(cells).value_counts(sort=False) if "phenotype" in cells else pd.Series(dtype=int)
    rows = pd.DataFrame({"phenotype": [*map(str, counts.index), "all"], "cells": [*counts, len(cells)]})
    rows["share"] = rows["cells"] / max(1, len(cells))
    rows["per_mm2"] = rows["cells"] / (tissue_mm2 or np.nan)
    return rows
