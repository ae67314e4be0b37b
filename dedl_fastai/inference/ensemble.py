"""`Ensemble`: several segmentation runs as one model, with the spread of their probabilities as uncertainty."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..cells.measure import measure_cells
from ..cells.options import NucleiOptions
from ..cells.phenotyping import add_phenotypes, check_thresholds
from ..data.pixels import ScaledField
from ..errors import UserError
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from ..phenotypes.rules import Rules
from .field_cells import predict_field
from .load import load_run, own_overlap
from .options import BATCH_SIZE
from .segmenter import Segmenter
from .window import Band, FieldPixels, entropy_bits, predict_bands

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FieldProbability:
    """Mean probability of nuclei over the members, (H, W), and its standard deviation (0 for a single member)."""

    mean: np.ndarray
    sd: np.ndarray

    @property
    def entropy(self) -> np.ndarray:
        """Entropy of the mean probability in bits, (H, W): 0 where it is 0 or 1, 1 where it is 0.5."""
        return entropy_bits(self.mean)

    @property
    def uncertainty(self) -> float:
        """One number a field: the mean entropy."""
        return float(self.entropy.mean(dtype=np.float64))


@dataclass
class Ensemble:
    """Segmentation models of the same channels and classes; each tile is read once and goes through all of them."""

    members: Sequence[Segmenter]

    @classmethod
    def load(
        cls,
        paths: Sequence[str | Path],
        which: str = "best",  # best, last, swa
        device: str = "auto",
        engine: str = "torch",  # torch, onnx, openvino
        amp: str = "no",  # no, fp16, bf16
        channels_last: bool = False,
        tta: str = "none",  # flips, dihedral: mean over mirror images, and quarter turns, of each tile
        bs: int = BATCH_SIZE,  # tiles a batch
        overlap: float | None = None,  # share of a tile that its neighbour covers too; None: as `own_overlap` says
    ) -> "Ensemble":
        """The runs in these folders. Raises `UserError` naming the difference if they do not go together."""
        if not paths:
            raise UserError("an ensemble needs at least one run folder.")
        overlap = own_overlap(paths) if overlap is None else overlap
        how = dict(engine=engine, amp=amp, channels_last=channels_last, tta=tta, bs=bs, overlap=overlap)
        members = [load_run(p, which, device, **how) for p in paths]
        for path, member in zip(paths, members, strict=True):
            if not isinstance(member, Segmenter):
                raise UserError(f"{path} is a classification run: an ensemble is of segmentation runs.")
            _check_fits(members[0], member, path)
        ensemble = cls(members)
        if len({m.tile for m in members}) > 1:
            log.info("the runs were trained on tiles of different sizes: all get tiles of %d pixels", ensemble.tile)
            for member in members:
                member.tile = ensemble.tile
        return ensemble

    def __repr__(self) -> str:
        return f"Ensemble({len(self.members)} members, threshold {self.threshold:g})"

    @property
    def threshold(self) -> float:
        """The mean of the members' tuned thresholds."""
        return float(np.mean([m.threshold for m in self.members]))

    @property
    def tile(self) -> int:
        """Edge of the tiles: the largest of the members'."""
        return max(m.tile for m in self.members)

    def pixels(self, field: Field, channels: Sequence[str] = ()) -> ScaledField:
        """An open field as the members want it; `channels` are the names in this file where they differ."""
        return self.members[0].pixels(field, channels)

    def channel_indices(self, field: Field, channels: Sequence[str] = ()) -> list[int]:
        """Where in a field the channels are that the members see."""
        return self.members[0].channel_indices(field, channels)

    def bands(self, pixels: FieldPixels, spread: bool = True) -> Iterator[Band]:
        """Mean over the members, and its spread, in bands of finished rows; in one pass over the tiles."""
        first = self.members[0]
        predict = [m.predict_tiles for m in self.members]
        return predict_bands(predict, pixels, self.tile, first.overlap, first.bs, first.tta, spread)

    def predict(self, field: str | Path | np.ndarray) -> FieldProbability:
        """Mean and spread of the members' probabilities, of an image file or of what a member's `read` returned.

        In memory; `predict_field` is for slides.
        """
        if isinstance(field, str | Path):
            with open_field(field) as opened:
                return self.predict(self.pixels(opened))
        bands = list(self.bands(field))
        return FieldProbability(*(np.concatenate([getattr(b, name) for b in bands]) for name in ("mean", "sd")))

    def mask(self, field: str | Path | np.ndarray) -> np.ndarray:
        """Mask of nuclei as bool (H, W), at the mean threshold."""
        return self.predict(field).mean >= self.threshold

    def segment(
        self, field: str | Path | Field, channels: Sequence[str] = (), nuclei: NucleiOptions | None = None
    ) -> np.ndarray:
        """Labels of nuclei as int32 (H, W) in memory: 0 is background, ids 1..n."""
        with predict_field(self, field, channels=channels, nuclei=nuclei, keep=()) as found:
            return np.asarray(found.labels[:, :])

    def cells(
        self,
        field: str | Path | Field,
        labels: np.ndarray | None = None,  # (H, W), ids of nuclei from anywhere; None: found first
        channels: Sequence[str] = (),
        nuclei: NucleiOptions | None = None,
        ring_um: float = 2.0,
        rules: Rules | None = None,  # for phenotypes, see `add_phenotypes`
        thresholds: Mapping[str, float] | None = None,  # marker -> intensity above which a cell is positive
    ) -> pd.DataFrame:
        """One row a cell, as `measure_cells` gives it; with probability and uncertainty for nuclei that were found."""
        check_thresholds(rules, thresholds)
        if not isinstance(field, Field):
            with open_field(field) as opened:
                return self.cells(opened, labels, channels, nuclei, ring_um, rules, thresholds)
        if labels is not None:
            return measure_cells(labels, field, ring_um=ring_um, rules=rules, thresholds=thresholds)
        with predict_field(self, field, channels=channels, nuclei=nuclei, ring_um=ring_um, keep=()) as found:
            cells = found.cells
        return cells if rules is None else add_phenotypes({"the cells": cells}, rules, thresholds)["the cells"]


def _check_fits(first: Segmenter, other: Segmenter, path: str | Path) -> None:
    for name in ("channels", "scaling", "classes"):
        ours, theirs = getattr(first.facts, name), getattr(other.facts, name)
        if ours != theirs:
            raise UserError(f"{path} does not fit the first run: its {name} are {theirs}, not {ours}.")
