"""`curve_figure`: F1 against the number of corrected nuclei, with a line for each order of fields or regions."""

import pandas as pd
from matplotlib.figure import Figure


def curve_figure(curve: pd.DataFrame) -> Figure:
    """Draw the rows of `correction_curve`; both lines start at the model before any correction."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    before = curve[curve["n"] == 0]
    for order, rows in curve[curve["n"] > 0].groupby("order", sort=False):
        line = pd.concat([before, rows]).sort_values("n")
        ax.plot(line["corrected"], line["f1"], "o-", markersize=4, label=f"{rows['unit'].iloc[0]} in {order} order")
    ax.axhline(before["f1"].iloc[0], color="0.6", linewidth=1, linestyle=":", label="before")
    ax.set(xlabel="corrected nuclei (missed or false)", ylabel="F1 of nuclei in test fields (IoU 0.5)")
    ax.legend()
    return figure
