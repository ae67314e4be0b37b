"""`find_lr`: run fastai's learning-rate finder with the options of a run, and write its curve as PNG and CSV."""

from pathlib import Path

from ..errors import UserError
from .classification.training import clf_dataloaders_of, clf_learner_of
from .cohort import load_clf_cohort, training_part
from .continued import load_seg_cohort
from .lr_curve import rate_curve
from .options.clf import CELLS, ClfConfig
from .options.seg import SegConfig
from .segmentation.training import dataloaders_of, learner_of


def find_lr(options: SegConfig | ClfConfig, out: str | Path, steps: int = 100) -> dict[str, float]:
    """Raise the rate over `steps` batches until the loss diverges; write lr_find.png and lr_find.csv in `out`.

    Returns the suggested rates: "valley" is fastai's default, "minimum" a tenth of the rate with the lowest loss,
    "steep" the rate at which the loss falls fastest. No weights and no files of a run are changed.
    """
    if isinstance(options, ClfConfig):
        if CELLS in (options.items, options.input):
            raise UserError(
                "the learning rate of a classifier on cells cannot be found: leave items=cells, input=cells out."
            )
        dls = clf_dataloaders_of(options, training_part(load_clf_cohort(options), options))
    else:
        dls = dataloaders_of(options, training_part(load_seg_cohort(options), options))
    learn = clf_learner_of(options, dls) if isinstance(options, ClfConfig) else learner_of(options, dls)
    curve = rate_curve(learn, steps)
    curve.write(Path(out))
    return curve.suggestions
