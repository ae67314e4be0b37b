"""`dedl-fastai seg`: train a segmentation model."""

from pathlib import Path
from typing import Annotated

import typer

from ..runs.options.seg import SegConfig
from .options import with_options
from .training import OutOption, ResumeOption, run_on_processes, run_training

ProcessesOption = Annotated[
    int,
    typer.Option(
        "--nproc",
        min=1,
        help="Number of processes on this machine, one for each GPU (or on the CPU). They share every batch of --bs.",
    ),
]


@with_options(SegConfig)
def seg(given: dict, out: OutOption = "", resume: ResumeOption = False, nproc: ProcessesOption = 1) -> None:
    """Train a segmentation model of nuclei and measure it on whole fields.

    Without --data it uses a synthetic cohort. A run that was stopped with Ctrl-C continues with --resume.
    """
    if nproc > 1:
        run_on_processes(nproc, "seg", SegConfig, given=given, out=out, resume=resume)
    else:
        run_training("seg", SegConfig, given, out=out, resume=resume, train=_train, multi_process=True)


def _train(options: SegConfig, folder: Path) -> str:
    from ..runs.members import train_folds
    from ..runs.out_of_fold import train_test_folds
    from ..runs.segmentation.training import train_seg
    from .tables.segmentation import fold_table, metrics_table, test_fold_table

    if options.test_folds:
        return test_fold_table(train_test_folds(options, folder))
    if options.folds:
        return fold_table(train_folds(options, folder))
    return metrics_table(train_seg(options, folder))
