"""`Segmenter`: a trained segmentation model that predicts fields of any size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..cells.options import NucleiOptions
from ..data.pixels import ScaledField, pick_channels, read_scaled
from ..errors import UserError
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from ..models.names import HEADS
from ..training.model_card import seg_facts_from_card, seg_model_card
from ..training.run_folder import RunFolder
from ..training.stored_network import StoredNetwork
from .engines.engine import Engine, make_engine
from .options import BATCH_SIZE, OVERLAP
from .predicted import PredictedMask, predicted_mask
from .resampled import bands_at_scale
from .window import Band, FieldPixels, normalised, predict_bands, whole_planes

if TYPE_CHECKING:  # fastai takes seconds to import, and a prediction does not need it
    from fastai.learner import Learner


@dataclass
class Segmenter:
    """A network in eval mode and its model.json; predicts probabilities and masks of nuclei."""

    source: nn.Module | StoredNetwork  # the network, or where it is stored
    card: dict[str, Any]
    run: RunFolder | None  # None for the model of a Learner
    device: torch.device
    overlap: float = OVERLAP  # share of a tile's edge that the next tile also covers
    bs: int = BATCH_SIZE  # tiles per batch
    engine: str = "torch"  # torch, onnx, openvino
    amp: str = "no"  # no, fp16, bf16
    channels_last: bool | None = None  # memory format of the PyTorch engine; None: on the CPU
    tta: str = "none"  # none; flips, dihedral: mean over transformed images of each tile

    def __post_init__(self):
        self.facts = seg_facts_from_card(self.card)
        self.tile = self.facts.tile
        self.mean, self.std = np.array(self.facts.mean), np.array(self.facts.std)
        if isinstance(self.source, nn.Module):
            self.source.to(self.device).eval()

    @classmethod
    def of(cls, learn: "Learner", **how: Any) -> "Segmenter":
        """The model of a Learner, with the threshold that `learn.evaluate` tuned; `how`: `overlap`, `tta`, ..."""
        if not learn.dls.facts.of_fields:
            raise UserError(
                "how these loaders scale the pixels of a file is not known: predict their items (`dls.test_dl`), or "
                "create the Learner with `facts`."
            )
        card = seg_model_card(
            learn.spec, learn.dls.facts, getattr(learn, "thresholds", None), getattr(learn, "nuclei", None)
        )
        return cls(learn.model, card, None, torch.device(learn.dls.device), **how)

    def __repr__(self) -> str:
        net = self.card["network"]
        names = ", ".join(self.facts.channels)
        return f"Segmenter({net['arch']}/{net['encoder']} on {names}, threshold {self.threshold:g})"

    @cached_property
    def model(self) -> nn.Module:
        """The network in eval mode; a stored one is built on first access, never if it was converted before."""
        return self.source if isinstance(self.source, nn.Module) else self.source().to(self.device)

    @property
    def head(self) -> str:
        """What the model predicts beside the mask: mask (nothing), distance."""
        return self.card["network"].get("head", "mask")

    @property
    def separation(self) -> NucleiOptions:
        """How the nuclei are separated: as tuned on the validation nuclei, for a model with a head."""
        return NucleiOptions(**self.card.get("nuclei", {}))

    @property
    def pixel_size_um(self) -> float | None:
        """The pixel size of the training fields; None if unknown."""
        return self.facts.pixel_size_um

    @property
    def threshold(self) -> float:
        """Probability at which a pixel is a nucleus: tuned on the validation fields, or 0.5 if not tuned."""
        return 0.5 if self.card["threshold"] is None else self.card["threshold"]

    @cached_property
    def network(self) -> Engine:
        """The engine that runs the network: normalised tiles (b, C, t, t) -> probability, and maps of a head."""
        return make_engine(
            self.engine,
            self.source,
            n_channels=len(self.facts.channels),
            tile=self.tile,
            device=self.device,
            amp=self.amp,
            channels_last=self.channels_last,
            n_maps=HEADS[self.head],
        )

    def use_tile(self, tile: int) -> None:
        """Predict in tiles of another edge in pixels; the engine is made again, as it may be for one size alone."""
        self.tile = tile
        self.__dict__.pop("network", None)

    def read(self, path: str | Path, channels: Sequence[str] = ()) -> np.ndarray:
        """The model's channels of an image file, scaled: float32 (C, H, W) in [0, 1].

        `channels` are their names in this file, if they differ from training ("blue-only" of a composite for DAPI).
        """
        return read_scaled(path, self._names(channels), self.facts.scaling)

    def pixels(self, field: Field, channels: Sequence[str] = ()) -> ScaledField:
        """The same for an open field of any size; its pixels are read when they are sliced."""
        return ScaledField(field, self._names(channels), self.facts.scaling)

    def channel_indices(self, field: Field, channels: Sequence[str] = ()) -> list[int]:
        """Indices in a field of the channels that the model takes."""
        return pick_channels(field, self._names(channels))

    def predict_tiles(self, tiles: np.ndarray) -> np.ndarray:
        """Probability of nuclei (b, t, t) in tiles (b, C, t, t) in [0, 1]; with a head (b, 1 + maps, t, t).

        The edge t is `tile`, for which the engine is made.
        """
        return self.network(normalised(tiles, self.mean, self.std))

    def bands(self, pixels: FieldPixels, spread: bool = False, scale: float = 1.0) -> Iterator[Band]:
        """The probability of a field of any size in bands of finished rows; with `spread` also its deviation, 0.

        The network sees the field magnified by `scale`; the bands are in the field's own pixels.
        """

        def bands_of(seen: FieldPixels) -> Iterator[Band]:
            return predict_bands(
                [self.predict_tiles],
                seen,
                tile=self.tile,
                overlap=self.overlap,
                bs=self.bs,
                tta=self.tta,
                spread=spread,
            )

        return bands_at_scale(bands_of, pixels, scale)

    def probability(self, field: str | Path | Field | FieldPixels) -> np.ndarray:
        """Probability of nuclei as float32 (H, W), for an image file, an open field or scaled pixels (C, H, W)."""
        if isinstance(field, str | Path):
            with open_field(field) as opened:
                return self.probability(opened)
        if isinstance(field, Field):
            field = self.pixels(field)
        return np.concatenate([band.mean for band in self.bands(field)])

    def planes(self, field: FieldPixels, scale: float = 1.0) -> np.ndarray:
        """Probability of nuclei and the maps of the head, float32 (1 + maps, H, W), for scaled pixels (C, H, W)."""
        return whole_planes(self.bands(field, scale=scale))

    def mask(self, field: str | Path | Field | FieldPixels) -> np.ndarray:
        """Mask of nuclei as bool (H, W), at the tuned threshold."""
        return self.probability(field) >= self.threshold

    def predict(self, field: str | Path | Field | FieldPixels) -> PredictedMask:
        """What `learn.predict` returns for a file: mask (H, W), the same as integers, probabilities (2, H, W)."""
        return predicted_mask(self.probability(field), self.threshold)

    def _names(self, channels: Sequence[str]) -> Sequence[str]:
        if channels and len(channels) != len(self.facts.channels):
            raise UserError(
                f"`channel` has {len(channels)} names, and the model takes {len(self.facts.channels)} channels."
            )
        return channels or self.facts.channels
