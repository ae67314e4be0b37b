"""Figures of neighbouring cells: pairs of types over all patients, and their differences between groups of patients."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..cells.groups import LEVEL

_DIFFERENT, _GREY = "#b3352f", "#8a9099"


def neighbours_figure(pairs: pd.DataFrame, radius_um: float) -> Figure:
    """Draw the mean log2 ratio of each pair as a matrix, with the number of patients in which it is beyond chance."""
    names = list(dict.fromkeys([*pairs["from"], *pairs["to"]]))
    k = len(names)
    figure = Figure(figsize=(3.2 + 0.95 * k, 2.2 + 0.75 * k), layout="constrained")
    ax = figure.subplots()
    shown = np.full((k, k), np.nan)
    for row in pairs.to_dict("records"):
        i, j = sorted(names.index(row[end]) for end in ("from", "to"))
        shown[j, i] = row["log2_ratio"]
        text = f"{row['log2_ratio']:+.2f}\n{row['more'] + row['less']}/{row['patients']}"
        ax.text(i, j, text, ha="center", va="center", fontsize=9)
    limit = max(1.0, float(np.nanmax(np.abs(shown), initial=0.0)))
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-1.4 * limit, vmax=1.4 * limit)  # light enough for the numbers
    ax.set_xticks(range(k), names, rotation=45, ha="right")
    ax.set_yticks(range(k), names)
    ax.spines[:].set_visible(False)
    ax.set_title(f"cells within {radius_um:g} µm; second number: patients with q < {LEVEL:g}", fontsize=10)
    figure.colorbar(image, ax=ax, label="log2 (observed / expected contacts)", shrink=0.8)
    return figure


def groups_figure(groups: pd.DataFrame) -> Figure:
    """Draw the difference of each pair of types between two groups with its interval; filled if q is small."""
    compared = list(groups.groupby(["group", "versus"], sort=False))
    rows = max(len(table) for _, table in compared)
    figure = Figure(figsize=(1.5 + 4.6 * len(compared), 1.3 + 0.27 * rows), layout="constrained")
    axes = figure.subplots(1, len(compared), squeeze=False, sharey=True)[0]
    for ax, ((group, versus), table) in zip(axes, compared, strict=True):
        for y, row in enumerate(table.to_dict("records")):
            is_shown = row["q"] < LEVEL
            color = _DIFFERENT if is_shown else _GREY
            ax.plot([row["low"], row["high"]], [y, y], color=color, lw=1.4)
            ax.plot(row["effect"], y, "o", color=color, markerfacecolor=color if is_shown else "white")
        ax.axvline(0, color="#1b1f24", lw=0.8)
        ax.set_yticks(range(len(table)), [f"{a} and {b}" for a, b in zip(table["from"], table["to"], strict=True)])
        ax.set_title(f"{group} less {versus}; filled: q < {LEVEL:g}", fontsize=10)
        ax.set_xlabel("difference of log2 (observed / expected)")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    return figure
