"""`dedl-fastai clf`: train a classification model."""

from pathlib import Path

from ..errors import UserError
from ..runs.options.clf import ClfConfig
from .options import with_options
from .training import OutOption, ResumeOption, run_training


@with_options(ClfConfig)
def clf(given: dict, out: OutOption = "", resume: ResumeOption = False) -> None:
    """Train a model that predicts which cell types a field contains, and compare it with simple baselines.

    With --items cells it learns the type of each cell from the cell tables, with --input cells the classes of fields
    from their cells. Without --data it uses a synthetic cohort.
    A run that was stopped with Ctrl-C continues with --resume.
    """
    unused = ClfConfig.without_use(given)
    if unused:
        name = given.get("input", "measurements")
        raise UserError(f"`{unused}` is for networks on pictures, and input={name} has none: leave it out.")
    run_training("clf", ClfConfig, given, out=out, resume=resume, train=_train)


def _train(options: ClfConfig, folder: Path) -> str:
    from ..runs.classification.training import train_clf
    from ..runs.members import train_members
    from ..runs.out_of_fold import train_test_folds
    from .tables.classification import members_table, metrics_table, test_fold_table

    if options.items == "cells":
        from ..runs.cells.out_of_fold import train_cells_folds
        from ..runs.cells.training import train_cells
        from .tables import cells

        train = train_cells_folds if options.test_folds else train_cells
        return cells.metrics_table(train(options, folder))
    if options.test_folds:
        return test_fold_table(train_test_folds(options, folder))
    if options.folds or options.seeds:
        return members_table(train_members(options, folder))
    return metrics_table(train_clf(options, folder))
