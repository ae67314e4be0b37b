"""`train_cell_bags`: train a classifier of fields by their cells (`clf` with input=cells) to a finished run folder."""

import copy
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.torch_core import set_seed
from safetensors.torch import save
from torch import nn

from ...cells.features import INTENSITIES
from ...data.classification.items import ClfFacts, ClfItem, clf_items
from ...data.classification.labels import Labels, write_labels
from ...data.cohort import Cohort
from ...errors import UserError
from ...inference.cells_classifier import as_tensors
from ...inference.field_bags import FieldBags, check_unit
from ...inference.load import load_segmenter
from ...io.fields.readers import open_field
from ...io.files import write_text, written_whole
from ...models.cell_bags import BagsSpec, CellBags
from ...models.device import pick_device
from ...models.names import NUCLEI
from ...scores.class_labels import clf_scores
from ...training.model_card import clf_model_card
from ...training.run_folder import RunFolder, history_text
from ..lifecycle import close_run, open_run
from ..options.clf import ClfConfig
from .evaluation import evaluate_clf_run
from .item_scores import truth_of

log = logging.getLogger(__name__)

_STEPS, _PATIENCE, _EVERY = 400, 100, 10  # steps, of all fields at once; without improvement; between validations
_LR, _WD = 0.01, 3.0


@dataclass(frozen=True)
class _Fitted:
    """Networks at their best step, their validation loss, and the rows of history.csv."""

    model: CellBags
    spec: BagsSpec
    intensities: str
    loss: float
    history: list[dict[str, Any]]


def train_cell_bags(
    run: RunFolder, options: ClfConfig, cohort: Cohort, *, facts: ClfFacts, labels: Labels
) -> dict[str, Any]:
    """Find and measure the cells of all fields, train, tune thresholds and evaluate; return metrics.json.

    The validation loss chooses the step, and raw or scaled intensities if the options leave them open.
    """
    started = time.perf_counter()
    device = pick_device(options.device)
    items = {s: clf_items(cohort, facts, s, labels=labels) for s in ("train", "valid")}
    load = partial(load_segmenter, device=options.device)
    with open_field(items["train"][0].image) as first:
        source = FieldBags(options.seg, load, tuple(first.channels), options.seg_channel)
    unit = _common_unit(source, [i.image for of_split in items.values() for i in of_split])
    considered = INTENSITIES if options.intensities == "auto" else (options.intensities,)
    fitted = [_fitted(items, source, i, device=device, seed=options.seed) for i in considered]
    best = min(fitted, key=lambda f: f.loss)
    log.info("validation loss %s", ", ".join(f"{f.loss:.4f} ({f.intensities})" for f in fitted))
    seg = options.seg if options.seg == NUCLEI else str(Path(options.seg).resolve())
    nuclei = {"seg": seg, "seg_channel": options.seg_channel, "seg_digest": source.digest}
    cells = {**nuclei, "channels": list(source.channels), "intensities": best.intensities, "unit": unit}
    card = {**clf_model_card(best.spec, facts), "cells": cells}
    open_run(run, options, cohort, card=card, device=device)
    write_labels(labels, run.path / "labels")
    write_text(run.path / "history.csv", history_text(best.history))
    with written_whole(run.path / "best.safetensors") as tmp:
        tmp.write_bytes(save({name: t.cpu().contiguous() for name, t in best.model.state_dict().items()}))
    metrics = evaluate_clf_run(run, options, cohort, labels)
    close_run(run, time.perf_counter() - started)
    return metrics


def _common_unit(source: FieldBags, images: Sequence[str]) -> str:
    unit = ""
    for image in dict.fromkeys(images):
        found = source.unit(image)
        check_unit(found, unit, image)
        unit = unit or found
    if not unit:
        raise UserError(f"seg={source.seg} finds no nucleus in any field: give another run, or `seg_channel`.")
    return unit


def _fitted(
    items: Mapping[str, Sequence[ClfItem]], source: FieldBags, intensities: str, *, device: torch.device, seed: int
) -> _Fitted:
    bags = {s: source.of_items(of_split, intensities) for s, of_split in items.items()}
    data = {s: _Bags(*as_tensors(b, device), truth=truth_of(items[s])) for s, b in bags.items()}
    set_seed(seed, reproducible=True)
    cells = data["train"].cells
    spec = BagsSpec(cells.shape[1], data["train"].truth.shape[1])
    model = CellBags(spec, cells_per_field=len(cells) / len(bags["train"])).to(device)
    model.standardise_by(cells)
    loss, history = _fit(model, data["train"], data["valid"])
    return _Fitted(model, spec, intensities, loss=loss, history=history)


@dataclass(frozen=True)
class _Bags:
    """The cells of the items of a split, the item of each cell, and the true labels of the items."""

    cells: torch.Tensor
    bag: torch.Tensor
    truth: np.ndarray  # (n, K) bool

    def log_odds(self, model: CellBags) -> torch.Tensor:
        """The log-odds (members, n, K) of the items."""
        return model(self.cells, self.bag, len(self.truth))

    def loss(self, log_odds: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy over members, items and classes."""
        target = torch.as_tensor(self.truth, dtype=torch.float32, device=log_odds.device).expand_as(log_odds)
        return nn.functional.binary_cross_entropy_with_logits(log_odds, target)


def _fit(model: CellBags, train: _Bags, valid: _Bags) -> tuple[float, list[dict[str, Any]]]:
    """Train in place, and return to the step with the best validation loss; return this loss and the history."""
    opt = torch.optim.AdamW(model.parameters(), lr=_LR, weight_decay=_WD)
    vocab = [str(k) for k in range(valid.truth.shape[1])]
    best, best_step, weights, history = float("inf"), 0, copy.deepcopy(model.state_dict()), []
    for step in range(1, _STEPS + 1):
        model.train()
        loss = train.loss(train.log_odds(model))
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % _EVERY:
            continue
        with torch.inference_mode():
            log_odds = valid.log_odds(model.eval())
            valid_loss = float(valid.loss(log_odds))
        scores = clf_scores(log_odds.sigmoid().mean(dim=0).cpu().numpy(), valid.truth, 0.5, vocab)
        row = {"epoch": step - 1, "train_loss": float(loss.detach()), "valid_loss": valid_loss, "lr": _LR}
        history.append(row | {name: scores[name] for name in ("f1_macro", "f1_micro", "map")})
        if valid_loss < best:
            best, best_step, weights = valid_loss, step, copy.deepcopy(model.state_dict())
        elif step - best_step >= _PATIENCE:
            break
    model.load_state_dict(weights)
    model.eval()
    return best, history
