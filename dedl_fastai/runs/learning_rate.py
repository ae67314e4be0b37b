"""`find_lr`: run fastai's learning-rate finder with the options of a run, and write its curve as PNG and CSV."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastai.callback.schedule import minimum, steep, valley
from fastai.learner import Learner
from matplotlib.figure import Figure

from ..errors import UserError
from ..io.files import write_text
from .classification.training import clf_dataloaders_of, clf_learner_of
from .cohort import load_clf_cohort, load_split_cohort
from .figures import save_figure
from .options.clf import ClfConfig
from .options.seg import SegConfig
from .segmentation.training import dataloaders_of, learner_of

_LABELS = {"valley": "valley (suggested)", "minimum": "a tenth of the minimum", "steep": "steepest descent"}


def find_lr(options: SegConfig | ClfConfig, out: str | Path, steps: int = 100) -> dict[str, float]:
    """Raise the rate over `steps` batches until the loss diverges; write lr_find.png and lr_find.csv in `out`.

    Returns the suggested rates: "valley" is fastai's default, "minimum" a tenth of the rate with the lowest loss,
    "steep" the rate at which the loss falls fastest. No weights and no files of a run are changed.
    """
    if isinstance(options, ClfConfig):
        dls = clf_dataloaders_of(options, load_clf_cohort(options))
    else:
        dls = dataloaders_of(options, load_split_cohort(options))
    if not len(dls.train):
        raise UserError(f"there are fewer training items than bs={options.bs}: use a smaller batch.")
    learn = clf_learner_of(options, dls) if isinstance(options, ClfConfig) else learner_of(options, dls)
    with tempfile.TemporaryDirectory() as folder, learn.no_bar():
        learn.path = Path(folder)  # where fastai stores the weights that it restores at the end
        suggestions = lr_suggestions(learn, steps)
    write_curve(learn, suggestions, Path(out))
    return suggestions


def lr_suggestions(learn: Learner, steps: int = 100) -> dict[str, float]:
    """Return the suggestions of `learn.lr_find` as plain numbers."""
    try:
        found = learn.lr_find(num_it=steps, show_plot=False, suggest_funcs=(valley, minimum, steep))
    except (IndexError, ValueError) as e:  # too few finite losses to find a valley
        raise UserError("the loss was NaN from the start: check the data, or use amp=no.") from e
    return {name: float(value) for name, value in zip(found._fields, found, strict=True)}


def write_curve(learn: Learner, found: Mapping[str, float], out: Path) -> None:
    """Write the curve in the learner's recorder as lr_find.csv and lr_find.png."""
    rates, losses = [float(v) for v in learn.recorder.lrs], [float(v) for v in learn.recorder.losses]
    rows = "".join(f"{r:.8g},{loss:.6g}\n" for r, loss in zip(rates, losses, strict=False))
    write_text(out / "lr_find.csv", "lr,loss\n" + rows)
    save_figure(_figure(rates, losses, found), out / "lr_find.png")


def _figure(rates: list[float], losses: list[float], found: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    ax = figure.subplots()
    n = min(len(rates), len(losses))
    ax.plot(rates[:n], losses[:n], color="0.4")
    ceiling = losses[0] + 2 * (losses[0] - min(losses)) if min(losses) < losses[0] else max(losses)
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss (smoothed)", ylim=(min(losses) * 0.95, ceiling))
    for i, (name, rate) in enumerate(found.items()):
        ax.axvline(rate, color=f"C{i}", linestyle="--", label=f"{_LABELS[name]}: {rate:.2e}")
    ax.legend(frameon=False, fontsize=8)
    ax.grid(alpha=0.3)
    return figure
