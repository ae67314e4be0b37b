"""`train_crops`: a network on the crops of labelled cells, from its items to calibrated probabilities."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ...data.classification.crops import (
    CellItem,
    cell_items,
    crop_dataloaders,
    crop_edge,
    crop_facts,
    measurements_of,
    with_statistics,
)
from ...data.classification.items import ClfFacts
from ...data.cohort import Cohort
from ...data.scaling import PercentileScaling
from ...errors import UserError
from ...inference.crop_types import CropTypes
from ...io.fields.readers import open_field
from ...models.device import pick_device
from ...scores.confidence import Calibration, fit_calibration
from ...training.keeper import Keeper
from ...training.model_card import clf_model_card
from ...training.run_folder import RunFolder
from ...training.trackers.tracker import Tracker
from ..classification.training import averaging_of, clf_learner_of
from ..figures import curves_figure, save_figure
from ..lifecycle import fit_run, open_run
from ..options.base import two_percentiles
from ..options.clf import MEASUREMENTS, ClfConfig
from .design import Design
from .labelled import RING_UM
from .scores import probabilities_of

_MEASURED = 2000  # training crops that give the mean and the deviation of each plane


def train_crops(
    run: RunFolder,
    options: ClfConfig,
    cohort: Cohort,
    design: Design,
    *,
    intensities: str,  # of the measurements that join the crops
    facts: dict[str, Any],
    tracker: Tracker | None = None,
) -> CropTypes:
    """Train, calibrate on the validation cells, and write weights and model.json with `facts`.

    Raises `UserError` if there are no labelled training or validation cells.
    """
    cells, scaling = design.cells, PercentileScaling(*two_percentiles(options.percentiles))
    names = design.names(intensities) if options.join == MEASUREMENTS else []
    own = crop_facts(design.channels, cells.vocab, size=options.size, scaling=scaling, measurements=names)
    items = _items(design, own, crop_um=options.crop_um, intensities=intensities)
    training = [i for i in items if i.split == "train"]
    own = with_statistics(own, training[:: max(1, len(training) // _MEASURED)])
    dls = crop_dataloaders(
        items,
        own,
        bs=options.bs,
        augment=options.augment == "paper",
        workers=options.workers,
        seed=options.seed,
        device=pick_device(options.device),
    )
    learn = clf_learner_of(options, dls)
    if names:
        learn.model.standardise_by(torch.stack([measurements_of(i) for i in training]))
    card = {
        **clf_model_card(learn.spec, own),
        **facts,
        "kind": "network",
        "crop_um": options.crop_um,
        "channels": design.channels,
        "ring_um": RING_UM,
        "calibration": asdict(Calibration()),
        **({"joined": {"intensities": intensities, "unit": design.unit, "ring_quartiles": True}} if names else {}),
    }
    open_run(run, options, cohort, card=card, device=dls.device)
    keeper = Keeper(run.path, "f1_macro", patience=options.patience)
    fit_run(learn, run, options, keeper, cbs=averaging_of(options), tracker=tracker)
    save_figure(curves_figure(run.history(), ("f1_macro", "f1_micro", "map")), run.figure("curves"))
    at = design.labelled(["valid"])
    p = probabilities_of(CropTypes.load(run, device=options.device), cells)[at]
    run.write("model", {**card, "calibration": asdict(fit_calibration(p, design.truth(at)))})
    return CropTypes.load(run, device=options.device)


def _items(design: Design, facts: ClfFacts, *, crop_um: float, intensities: str) -> list[CellItem]:
    """The labelled cells of training and validation, as items."""
    items: list[CellItem] = []
    cells, start = design.cells, 0
    for name, table in cells.tables.items():
        is_used = table["split"].isin(["train", "valid"]) & table["type"].isin(cells.vocab)
        rows = start + np.flatnonzero(is_used)
        measured = design.x(intensities)[rows] if facts.measurements else np.zeros((len(rows), 0), np.float32)
        with open_field(cells.images[name]) as field:
            edge = crop_edge(crop_um, field.pixel_size_um)
        files = {"image": cells.images[name], "nuclei": cells.label_files[name]}
        items += cell_items(table[is_used], measured, facts, edge=edge, **files)
        start += len(table)
    missing = [s for s in ("train", "valid") if not any(i.split == s for i in items)]
    if missing:
        raise UserError(f"there are no labelled {missing[0]} cells: a network needs cells to train and to validate.")
    return items
