"""`find_lr`: fastai's learning-rate finder for a run; the curve as PNG and CSV."""

from pathlib import Path

from .classification.training import clf_dataloaders_of, clf_learner_of
from .cohort import load_clf_cohort, load_split_cohort
from .lr_curve import rate_curve
from .options.clf import ClfConfig
from .options.seg import SegConfig
from .segmentation.training import dataloaders_of, learner_of


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
    learn = (clf_learner_of if is_clf else learner_of)(options, dls)
    curve = rate_curve(learn, steps)
    curve.write(Path(out))
    return curve.suggestions
