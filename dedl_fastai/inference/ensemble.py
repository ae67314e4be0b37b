"""`Ensemble`: several segmentation runs as one model, with the spread of their probabilities as uncertainty."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fastcore.basics import patch

from ..cells.measure import measure_cells
from ..cells.options import NucleiOptions
from ..cells.phenotyping import add_phenotypes, check_thresholds
from ..data.pixels import ScaledField
from ..data.segmentation.facts import SegFacts
from ..errors import UserError
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from ..phenotypes.gates.fit import Cuts
from ..phenotypes.rules import Rules
from .field_cells import predict_field
from .load import load_run, own_overlap
from .options import BATCH_SIZE, SCALE
from .predicted import PredictedMask, predicted_mask
from .resampled import bands_at_scale
from .segmenter import Segmenter
from .window import Band, FieldPixels, entropy_bits, predict_bands, whole_planes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FieldProbability:
    """Mean probability of nuclei over the members, (H, W), and standard deviation (0 for a single member)."""

    mean: np.ndarray
    sd: np.ndarray

    @property
    def entropy(self) -> np.ndarray:
        """Entropy of the mean probability in bits, (H, W): 0 at a probability of 0 or 1, and 1 at 0.5."""
        return entropy_bits(self.mean)

    @property
    def uncertainty(self) -> float:
        """Mean entropy of the field, in bits."""
        return float(self.entropy.mean(dtype=np.float64))


@dataclass
class Ensemble:
    """Segmentation models of the same channels and classes; each tile is read once and predicted by all of them."""

    members: Sequence[Segmenter]

    @classmethod
    def load(
        cls,
        paths: Sequence[str | Path],
        which: str = "best",  # best, last, swa
        device: str = "auto",
        engine: str = "torch",  # torch, onnx, openvino
        amp: str = "no",  # no, fp16, bf16
        channels_last: bool | None = None,  # memory format of the PyTorch engine; None: on the CPU
        tta: str = "none",  # flips: mean over mirror images of each tile; dihedral: also over quarter turns
        bs: int = BATCH_SIZE,  # tiles per batch
        overlap: float | None = None,  # share of a tile's edge that the next tile also covers; None: `own_overlap`
    ) -> "Ensemble":
        """Load the runs in these folders. Raises `UserError` with the difference if they do not fit together."""
        if not paths:
            raise UserError("an ensemble needs at least one run folder.")
        overlap = own_overlap(paths) if overlap is None else overlap
        models = [
            load_run(
                path,
                which,
                device,
                overlap=overlap,
                bs=bs,
                engine=engine,
                amp=amp,
                channels_last=channels_last,
                tta=tta,
            )
            for path in paths
        ]
        members: list[Segmenter] = []
        for path, model in zip(paths, models, strict=True):
            if not isinstance(model, Segmenter):
                raise UserError(f"{path} is a classification run: `ClassifierEnsemble.load` loads these.")
            members.append(model)
            _check_fits(members[0], model, path)
        ensemble = cls(members)
        if len({m.tile for m in members}) > 1:
            log.info(
                "the runs were trained on tiles of different sizes: all of them predict tiles of %d pixels",
                ensemble.tile,
            )
            for member in members:
                member.use_tile(ensemble.tile)
        return ensemble

    def __repr__(self) -> str:
        return f"Ensemble({len(self.members)} members, threshold {self.threshold:g})"

    @property
    def facts(self) -> SegFacts:
        """The first member's facts about the data."""
        return self.members[0].facts

    @property
    def threshold(self) -> float:
        """The mean of the members' tuned thresholds."""
        return float(np.mean([m.threshold for m in self.members]))

    @property
    def pixel_size_um(self) -> float | None:
        """The pixel size of the first member's training fields; None if unknown."""
        return self.members[0].pixel_size_um

    @property
    def tile(self) -> int:
        """Edge of the tiles: the largest one of the members."""
        return max(m.tile for m in self.members)

    def pixels(self, field: Field, channels: Sequence[str] = ()) -> ScaledField:
        """Scaled pixels of an open field; `channels` are the names in this file, if they differ from training."""
        return self.members[0].pixels(field, channels)

    def channel_indices(self, field: Field, channels: Sequence[str] = ()) -> list[int]:
        """Indices in a field of the channels that the members take."""
        return self.members[0].channel_indices(field, channels)

    def bands(self, pixels: FieldPixels, spread: bool = True, scale: float = 1.0) -> Iterator[Band]:
        """Mean and standard deviation over the members in bands of finished rows, in one pass over the tiles.

        The networks see the field magnified by `scale`; the bands are in the field's own pixels.
        """
        first = self.members[0]
        predict = [m.predict_tiles for m in self.members]

        def bands_of(seen: FieldPixels) -> Iterator[Band]:
            return predict_bands(
                predict, seen, tile=self.tile, overlap=first.overlap, bs=first.bs, tta=first.tta, spread=spread
            )

        return bands_at_scale(bands_of, pixels, scale)

    def mean_and_sd(self, field: str | Path | Field | FieldPixels) -> FieldProbability:
        """Mean and standard deviation of the members' probabilities, for a file, an open field or pixels (C, H, W).

        The result is in memory; use `predict_field` for slides.
        """
        if isinstance(field, str | Path):
            with open_field(field) as opened:
                return self.mean_and_sd(opened)
        bands = list(self.bands(self.pixels(field) if isinstance(field, Field) else field))
        return FieldProbability(*(np.concatenate([getattr(b, name) for b in bands]) for name in ("mean", "sd")))

    def planes(self, field: FieldPixels, scale: float = 1.0) -> np.ndarray:
        """Mean probability of nuclei and mean maps of the head, float32 (1 + maps, H, W)."""
        return whole_planes(self.bands(field, spread=False, scale=scale))

    @property
    def separation(self) -> NucleiOptions:
        """How the nuclei are separated: the means of what the members tuned."""
        options = [m.separation for m in self.members]
        return NucleiOptions(h=_mean(o.h for o in options), threshold=_mean(o.threshold for o in options))

    def probability(self, field: str | Path | Field | FieldPixels) -> np.ndarray:
        """Mean probability of nuclei over the members, as float32 (H, W)."""
        return self.mean_and_sd(field).mean

    def mask(self, field: str | Path | Field | FieldPixels) -> np.ndarray:
        """Mask of nuclei as bool (H, W), at the mean of the thresholds."""
        return self.probability(field) >= self.threshold

    def predict(self, field: str | Path | Field | FieldPixels) -> PredictedMask:
        """What `learn.predict` returns for a file: mask (H, W), the same as integers, probabilities (2, H, W)."""
        return predicted_mask(self.probability(field), self.threshold)

    def segment(
        self,
        field: str | Path | Field,
        channels: Sequence[str] = (),
        nuclei: NucleiOptions | None = None,
        scale: str | float = SCALE,  # none, auto or a factor, see `choose_scale`
    ) -> np.ndarray:
        """Labels of nuclei as int32 (H, W) in memory: 0 is background, ids 1..n."""
        with predict_field(self, field, channels=channels, nuclei=nuclei, keep=(), scale=scale) as predicted:
            return np.asarray(predicted.labels[:, :])

    def cells(
        self,
        field: str | Path | Field,
        labels: np.ndarray | None = None,  # (H, W), ids of nuclei from any source; None: predict them
        channels: Sequence[str] = (),
        nuclei: NucleiOptions | None = None,
        ring_um: float = 2.0,
        scale: str | float = SCALE,  # none, auto or a factor, see `choose_scale`
        rules: Rules | None = None,  # for phenotypes, see `add_phenotypes`
        thresholds: Mapping[str, Cuts] | None = None,  # marker -> intensity above which a cell is positive
    ) -> pd.DataFrame:
        """The table of `measure_cells`; with mean probability and uncertainty of each nucleus if `labels` is None."""
        check_thresholds(rules, thresholds)
        if not isinstance(field, Field):
            with open_field(field) as opened:
                return self.cells(
                    opened,
                    labels,
                    channels=channels,
                    nuclei=nuclei,
                    ring_um=ring_um,
                    scale=scale,
                    rules=rules,
                    thresholds=thresholds,
                )
        if labels is not None:
            return measure_cells(labels, field, ring_um=ring_um, rules=rules, thresholds=thresholds)
        with predict_field(
            self, field, channels=channels, nuclei=nuclei, ring_um=ring_um, scale=scale, keep=()
        ) as predicted:
            cells = predicted.cells
        return cells if rules is None else add_phenotypes({"the cells": cells}, rules, thresholds)["the cells"]


@patch(nm="segment")
def _segment(self: Segmenter, field: str | Path | Field, *args: Any, **how: Any) -> np.ndarray:
    """Labels of nuclei as int32 (H, W): see `Ensemble.segment`."""
    return Ensemble([self]).segment(field, *args, **how)


@patch(nm="cells")
def _cells(self: Segmenter, field: str | Path | Field, *args: Any, **how: Any) -> pd.DataFrame:
    """The table of the cells of a field: see `Ensemble.cells`."""
    return Ensemble([self]).cells(field, *args, **how)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _check_fits(first: Segmenter, other: Segmenter, path: str | Path) -> None:
    for name in ("channels", "scaling", "classes"):
        ours, theirs = getattr(first.facts, name), getattr(other.facts, name)
        if ours != theirs:
            raise UserError(f"{path} does not fit the first run: its {name} are {theirs}, not {ours}.")
    if first.head != other.head:
        raise UserError(f"{path} does not fit the first run: its head is {other.head}, not {first.head}.")
