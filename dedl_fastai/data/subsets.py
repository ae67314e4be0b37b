"""`draw_training_fields`: a cohort with a part of its training fields, to see how many labelled fields are enough."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import TypeVar

import pandas as pd

from ..errors import UserError
from .cohort import Cohort
from .options import SEED
from .splits import shuffled

Item = TypeVar("Item")


def draw_training_fields(
    cohort: Cohort,  # with splits
    n: int = 0,  # training fields that are kept; 0: all, or the share
    share: float = 1.0,  # of the training fields that is kept, at least one
    seed: int = SEED,
    *,
    usable: pd.Series | None = None,  # whether each field has what training needs, a mask or labels; default: all do
) -> Cohort:
    """Return the cohort with n of its usable training fields; the others get the split "ignore".

    Patients are taken one after the other in random order, each with all fields but the last one. With the same seed,
    the fields of a smaller part are among those of a larger one. An epoch shows each field that is left so often that
    it has as many items as with all of them (`Cohort.left_out`). Raises `UserError` if there are fewer training fields.
    """
    is_training = cohort.table.split == "train"
    training = cohort.table[is_training if usable is None else is_training & usable]
    if not (0 < share <= 1 and n >= 0 and (share == 1 or n == 0)):
        raise UserError(
            f"train_fields={n}, train_share={share:g}: give a number of fields, or a share above 0 up to 1."
        )
    if n > len(training):
        with_truth = "" if usable is None else " with masks or labels"
        raise UserError(f"train_fields={n}: {cohort.root} has {len(training)} training fields{with_truth}.")
    n = n or max(1, round(share * len(training)))
    if n == len(training):
        return cohort
    order = {name: turn for turn, name in enumerate(shuffled(training.patient, seed))}
    position = {name: place for place, name in enumerate(shuffled(training.field, seed))}
    ranked = sorted(zip(training.patient, training.field, strict=True), key=lambda f: (order[f[0]], position[f[1]]))
    drawn = {name for _, name in ranked[:n]}
    splits = cohort.table.split.where(~is_training | cohort.table.field.isin(drawn), "ignore")
    return replace(cohort.with_split(list(splits)), left_out=frozenset(name for _, name in ranked[n:]))


def cycled(items: Sequence[Item], n: int) -> list[Item]:
    """Return n items: all of them, again and again."""
    return list(islice(cycle(items), n))
