"""`find_lr`: fastai's learning-rate finder for a run; the curve as PNG and CSV."""

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

_CALLED = {"valley": "valley (suggested)", "minimum": "a tenth of the minimum", "steep": "steepest descent"}


def find_lr(options: SegConfig | ClfConfig, out: str | Path, steps: int = 100) -> dict[str, float]:
    """Raise the rate over `steps` batches until the loss explodes; write lr_find.png and lr_find.csv below `out`.

    Returns the suggestions: "valley" is fastai's own, "minimum" a tenth of the rate with the least loss, "steep" where
    it falls fastest. Training leaves no trace: neither weights nor files of a run are touched.
    """
    is_clf = isinstance(options, ClfConfig)
    if is_clf:
        dls = clf_dataloaders_of(options, load_clf_cohort(options))
    else:
        dls = dataloaders_of(options, load_split_cohort(options))
    if not len(dls.train):
        raise UserError(f"there are fewer training items than bs={options.bs}: use a smaller batch.")
    learn = (clf_learner_of if is_clf else learner_of)(options, dls)
    with tempfile.TemporaryDirectory() as folder, learn.no_bar():
        learn.path = Path(folder)  # fastai keeps the weights to come back to there
        found = lr_suggestions(learn, steps)
    write_curve(learn, found, Path(out))
    return found


def lr_suggestions(learn: Learner, steps: int = 100) -> dict[str, float]:
    """Suggestions of `learn.lr_find` as plain numbers."""
    try:
        found = learn.lr_find(num_it=steps, show_plot=False, suggest_funcs=(valley, minimum, steep))
    except (IndexError, ValueError) as e:  # too few finite losses to look for a valley
        raise UserError("the loss was not a number from the start: check the data, or use amp=no.") from e
    return {name: float(value) for name, value in zip(found._fields, found, strict=True)}


def write_curve(learn: Learner, found: Mapping[str, float], out: Path) -> None:
    """The curve that the learner's recorder holds, as lr_find.csv and lr_find.png."""
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
        ax.axvline(rate, color=f"C{i}", linestyle="--", label=f"{_CALLED[name]}: {rate:.2e}")
    ax.legend(frameon=False, fontsize=8)
    ax.grid(alpha=0.3)
    return figure
