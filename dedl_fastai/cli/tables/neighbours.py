"""Neighbouring types of cells as tables for the terminal."""

import pandas as pd

from .lines import interval, line


def pair_lines(pairs: pd.DataFrame) -> list[str]:
    """Return a row per pair: mean log2 ratio, patients with both types, and those beyond chance after correction."""
    lines = [line("", ("log2 ratio", "patients", "more", "less"), 12)]
    for row in pairs.to_dict("records"):
        cells = (f"{row['log2_ratio']:+.3f}", str(row["patients"]), str(row["more"]), str(row["less"]))
        lines.append(line(_pair(row), cells, 12))
    return lines


def group_lines(groups: pd.DataFrame) -> list[str]:
    """Return a row per pair of types and pair of groups: difference, interval, p and q."""
    lines = []
    for (group, versus), table in groups.groupby(["group", "versus"], sort=False):
        lines.append(line(f"{group} less {versus}", ("effect", "95 %", "patients", "p", "q"), 17))
        for row in table.to_dict("records"):
            ends = None if pd.isna(row["low"]) else [row["low"], row["high"]]
            effect = "-" if pd.isna(row["effect"]) else f"{row['effect']:+.3f}"
            n = f"{row['patients']} and {row['patients_versus']}"
            lines.append(line(_pair(row), (effect, interval(ends), n, _share(row["p"]), _share(row["q"])), 17))
    return lines


def _pair(row: dict) -> str:
    return f"  {row['from']} and {row['to']}"


def _share(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.3g}"
