"""The split cohort that a command works on: the user's fields, or the demo cohort where none are given."""

import logging
import os
from pathlib import Path
from typing import Any

import platformdirs

from ..data.cohort import Cohort
from ..data.demo import demo_cohort
from ..data.splits import apply_splits, split_cohort
from ..errors import UserError
from ..io.files import folder_written_whole
from .config import DataOptions

log = logging.getLogger(__name__)

DEMO_SIZE = (256, 384)  # whole tiles of 128 px
DEMO_FIELDS = 28


def with_demo_data(given: dict[str, Any]) -> dict[str, Any]:
    """Options as given; where no data is, the demo cohort (made once, then reused) and the preset `demo`."""
    if given.get("data"):
        return {**given, "data": str(Path(given["data"]).expanduser().resolve())}
    folder = demo_folder()
    log.info("no --data given: the demo cohort in %s and --preset %s are used", folder, given.get("preset", "demo"))
    return {"preset": "demo", **given, "data": str(folder)}


def demo_folder() -> Path:
    """The folder of the demo cohort, made if it is not there."""
    cache = Path(os.environ.get("DEDL_CACHE") or platformdirs.user_cache_path("dedl_fastai"))
    folder = cache / f"demo-{DEMO_FIELDS}x{DEMO_SIZE[0]}x{DEMO_SIZE[1]}-v1"
    if not folder.is_dir():
        log.info("making the demo cohort: %d fields", DEMO_FIELDS)
        with folder_written_whole(folder) as beside:
            demo_cohort(beside, DEMO_FIELDS, size=DEMO_SIZE)
    return folder


def load_split_cohort(options: DataOptions, fold: int = 0) -> Cohort:
    """The cohort of the options, split, cut down to `limit_fields`."""
    if options.splits and (options.split != "auto" or options.folds):
        raise UserError("--splits FILE says who is where: leave --split and --folds out.")
    cohort = Cohort.load(options.data, options.patient or None)
    if cohort.problems:
        first = cohort.problems[0]
        log.warning("%d files fit no field, the first: %s (`dedl-fastai data check`)", len(cohort.problems), first)
    if options.splits:
        cohort = apply_splits(cohort, options.splits)
    else:
        cohort = split_cohort(cohort, options.split, options.seed, folds=options.folds, fold=fold)
    return cohort.limited(options.limit_fields)
