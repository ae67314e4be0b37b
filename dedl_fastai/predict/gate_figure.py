"""`gate_figure`: the histogram of a marker on a logarithmic axis, with the fitted groups and the cut-offs."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d

from ..phenotypes.gates.gate import Gate

_BINS = 90
_GREY, _COLORS, _CUT, _BRIGHT = "#d5d9de", ("#4c78a8", "#e08a1e", "#b3352f"), "#1b1f24", "#b3352f"
_MOST_SLIDES = 12


def gate_figure(gate: Gate, values: np.ndarray, slides: Mapping[str, np.ndarray] | None = None) -> Figure:
    """Draw the histogram; with `slides`, a line for each slide as it was measured, before the shift."""
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    ax = figure.subplots()
    logs = gate.scale.log(values[np.isfinite(values)])
    if len(logs):
        low, high = np.quantile(logs, [0.001, 0.9995])
        margin = 0.05 * (high - low) + 0.05
        edges = np.linspace(low - margin, high + margin, _BINS + 1)
        ax.hist(np.clip(logs, edges[0], edges[-1]), bins=edges.tolist(), color=_GREY)
        _draw_groups(ax, gate, edges, len(logs))
        _draw_slides(ax, gate, edges, slides or {})
        _label_intensities(ax, gate, edges)
    for cut, color, name in ((gate.cut, _CUT, "cut-off"), (gate.bright, _BRIGHT, "bright")):
        if cut is not None:
            ax.axvline(float(gate.scale.log(np.array(cut))), color=color, lw=1.4, ls="--", label=f"{name} {cut:.4g}")
    ax.set(xlabel=f"mean intensity of {gate.marker}", ylabel="cells")
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8)
    return figure


def _draw_groups(ax: Axes, gate: Gate, edges: np.ndarray, n: int) -> None:
    if gate.mixture is None:
        return
    grid = np.linspace(edges[0], edges[-1], 400)
    names = ("one group",) if gate.mixture.n_groups == 1 else ("negative", "positive", "bright")
    for group, density in enumerate(gate.mixture.group_densities(grid)):
        label = f"fit: {names[min(group, len(names) - 1)]}"
        ax.plot(grid, density * n * (edges[1] - edges[0]), color=_COLORS[group % 3], lw=1.6, label=label)


def _draw_slides(ax: Axes, gate: Gate, edges: np.ndarray, slides: Mapping[str, np.ndarray]) -> None:
    top = ax.get_ylim()[1]
    for i, (slide, values) in enumerate(list(slides.items())[:_MOST_SLIDES]):
        counts, _ = np.histogram(gate.scale.log(values[np.isfinite(values)]), bins=edges)
        smooth = gaussian_filter1d(counts.astype(float), 2.0)
        share = smooth / max(smooth.max(), 1e-9) * 0.6 * top
        label = f"{slide}, as measured" if len(slides) <= 3 else "slides, as measured" if i == 0 else None
        ax.plot((edges[1:] + edges[:-1]) / 2, share, color="#7a5195", lw=0.8, alpha=0.7, label=label)


def _label_intensities(ax: Axes, gate: Gate, edges: np.ndarray) -> None:
    """Ticks at 1, 2 and 5 times powers of ten."""
    low, high = (float(gate.scale.intensity(edge)) for edge in (edges[0], edges[-1]))
    exponents = range(int(np.floor(np.log10(max(low, gate.offset / 10)))), int(np.ceil(np.log10(high))) + 1)
    wanted = [0.0, *(f * 10.0**e for e in exponents for f in (1, 2, 5))]
    ticks: list[float] = []
    for value in (v for v in wanted if low <= v <= high):
        at = float(gate.scale.log(np.array(value)))
        if not ticks or at - float(gate.scale.log(np.array(ticks[-1]))) > (edges[-1] - edges[0]) / 14:
            ticks.append(value)
    ax.set_xticks([float(gate.scale.log(np.array(t))) for t in ticks], [f"{t:g}" for t in ticks])
    ax.set_xlim(edges[0], edges[-1])
