"""`rate_curve`: fastai's learning-rate finder on a Learner, its suggestions, and the curve as PNG and CSV."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastai.callback.schedule import minimum, steep, valley
from fastai.learner import Learner
from matplotlib.figure import Figure

from ..errors import UserError
from ..io.files import write_text
from .figures import save_figure

_CALLED = {"valley": "valley (suggested)", "minimum": "a tenth of the minimum", "steep": "steepest descent"}


@dataclass(frozen=True)
class RateCurve:
    """Smoothed losses over learning rates, and what they suggest: "valley" is fastai's own suggestion."""

    rates: list[float]
    losses: list[float]
    suggestions: dict[str, float]

    def write(self, folder: Path) -> None:
        """Write lr_find.csv and lr_find.png."""
        rows = "".join(f"{r:.8g},{loss:.6g}\n" for r, loss in zip(self.rates, self.losses, strict=False))
        write_text(folder / "lr_find.csv", "lr,loss\n" + rows)
        save_figure(_figure(self.rates, self.losses, self.suggestions), folder / "lr_find.png")


def rate_curve(learn: Learner, steps: int = 100) -> RateCurve:
    """Raise the rate over `steps` batches until the loss explodes. The Learner's weights are the same afterwards."""
    if not len(learn.dls.train):
        raise UserError(f"there are fewer training items than bs={learn.dls.train.bs}: use a smaller batch.")
    with tempfile.TemporaryDirectory() as folder, learn.no_bar():
        learn.path = Path(folder)  # fastai keeps the weights to come back to there
        try:
            found = learn.lr_find(num_it=steps, show_plot=False, suggest_funcs=(valley, minimum, steep))
        except (IndexError, ValueError) as e:  # too few finite losses to look for a valley
            raise UserError("the loss was not a number from the start: check the data, or use amp=no.") from e
    suggestions = {name: float(value) for name, value in zip(found._fields, found, strict=True)}
    return RateCurve([float(v) for v in learn.recorder.lrs], [float(v) for v in learn.recorder.losses], suggestions)


def _figure(rates: list[float], losses: list[float], found: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    ax = figure.subplots()
    n = min(len(rates), len(losses))
    ax.plot(rates[:n], losses[:n], color="0.4")
    ceiling = losses[0] + 2 * (losses[0] - min(losses)) if min(losses) < losses[0] else max(losses)
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss (smoothed)", ylim=(min(losses) * 0.95, ceiling))
    for i, (name, rate) in enumerate(found.items()):
        ax.axvline(rate, color=f"C{i}", linestyle="--", label=f"{_CALLED[name]}: {rate:.2e}")
    ax.legend(frameon=False, fontsize=8)
    ax.grid(alpha=0.3)
    return figure
