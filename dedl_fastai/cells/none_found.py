"""Warnings where no cell is found: more often the channel, scale or threshold is wrong than a field empty."""

import logging
from collections.abc import Collection
from pathlib import Path

log = logging.getLogger(__name__)


def warn_of_empty_field(image: str | Path) -> None:
    """Log a warning that a field has no cells."""
    log.warning("%s: no cells were found", image)


def warn_if_all_empty(counts: Collection[int]) -> None:
    """Log a warning with what to check if no field has any cells, from the number of cells of each."""
    if counts and not any(counts):
        log.warning(
            "no cells were found in any field (%d): check that `channel` names the channel of the nuclei, that nuclei "
            "are about as large as in training (scale=auto adapts them), and the threshold in the run's model.json",
            len(counts),
        )
