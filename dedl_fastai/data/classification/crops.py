"""Crops of single cells: the channels around a nucleus, its mask and its neighbours' as planes; DataLoaders of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.callback.data import WeightedDL
from fastai.data.block import TransformBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import FuncSplitter, Normalize
from fastai.torch_core import set_seed

from ..cache import cache_file
from ..loaders import FieldDataBlock
from ..scaling import PercentileScaling
from ..tiles import cut
from .augment import PictureAugment
from .block import ClassesBlock, PictureBlock, is_valid, plane_statistics, target_of
from .inputs import resized
from .items import ClfFacts, ClfItem

UNKNOWN_UM = 0.5  # pixel size of fields that do not give theirs
MASKS = 2  # planes after the channels: the nucleus, and all other nuclei


@dataclass(frozen=True)
class CellItem(ClfItem):
    """A cell as an item of the classification DataBlock; `picture` is the scaled field, y, x and tile are its crop."""

    nuclei: str = ""  # .npy file of the labels of the field
    label: int = 0
    measurements: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), compare=False, repr=False)

    def pixels(self) -> np.ndarray:
        """Return the crop as float32 (C + 2, size, size) in [0, 1]."""
        planes, nuclei = np.load(self.picture, mmap_mode="r"), np.load(self.nuclei, mmap_mode="r")
        return crop_of(planes, nuclei, self.label, y=self.y, x=self.x, edge=self.tile, size=self.size)


def crop_of(planes: np.ndarray, nuclei: np.ndarray, label: int, *, y: int, x: int, edge: int, size: int) -> np.ndarray:
    """Cut a square with this upper left corner and edge in pixels, and resize it; beyond the field, it is mirrored.

    Returns float32 (C + 2, size, size): the channels, the nucleus with this label, and all other nuclei.
    """
    ids = cut(nuclei, y, x, size=edge, pad="zero")
    masks = np.stack([ids == label, (ids > 0) & (ids != label)]).astype(np.float32)
    return resized(np.concatenate([cut(planes, y, x, size=edge, pad="reflect"), masks]), size)


def measurements_of(item: CellItem) -> torch.Tensor:
    """Return the measurements of a cell as float32 (F,), as a network takes them next to the crop."""
    return torch.from_numpy(item.measurements)


def crop_edge(crop_um: float, pixel_size_um: float | None) -> int:
    """The edge of a crop in pixels of the field."""
    return max(4, round(crop_um / (pixel_size_um or UNKNOWN_UM)))


def corners_of(cells: pd.DataFrame, edge: int) -> Iterator[tuple[int, int, int]]:
    """Yield label, y and x of the upper left corner of the crop of each cell."""
    for label, y, x in zip(cells["label"], cells["y_px"], cells["x_px"], strict=True):
        yield int(label), round(y) - edge // 2, round(x) - edge // 2


def cell_items(
    cells: pd.DataFrame, measurements: np.ndarray, facts: ClfFacts, *, image: str, nuclei: str, edge: int
) -> list[CellItem]:
    """Return the cells of a field as items, with their `type` as target; cells of other types have none.

    `measurements` are (N, F), those of `facts`.
    """
    picture = cache_file(image, facts.channels, facts.scaling).pixels
    keys = zip(cells["field"], cells["patient"], cells["split"], cells["type"], measurements, strict=True)
    return [
        CellItem(
            field=name,
            patient=patient,
            image=image,
            split=split,
            labels=(kind,),
            target=tuple(float(c == kind) for c in facts.vocab),
            picture=picture,
            size=facts.size,
            y=y,
            x=x,
            tile=edge,
            nuclei=nuclei,
            label=label,
            measurements=measured,
        )
        for (label, y, x), (name, patient, split, kind, measured) in zip(corners_of(cells, edge), keys, strict=True)
    ]


def crop_facts(
    channels: Sequence[str],
    vocab: Sequence[str],
    *,
    size: int,
    scaling: PercentileScaling,
    measurements: Sequence[str] = (),  # names of those that the network takes too
) -> ClfFacts:
    """`ClfFacts` of crops, before they are read."""
    return ClfFacts(
        "markers",
        tuple(channels),
        scaling=scaling,
        size=size,
        tile=0,
        vocab=tuple(vocab),
        measurements=tuple(measurements),
    )


def with_statistics(facts: ClfFacts, items: Sequence[CellItem]) -> ClfFacts:
    """Add the statistics of the planes over some training items; classes are equally frequent, as they are drawn."""
    mean, std = plane_statistics(items, len(facts.channels) + MASKS)
    prevalence = (1 / len(facts.vocab),) * len(facts.vocab)
    return replace(facts, mean=tuple(mean), std=tuple(std), prevalence=prevalence, n_train=len(items))


def crop_dataloaders(
    items: Iterable[CellItem],  # of training and validation
    facts: ClfFacts,
    *,
    bs: int,
    augment: bool,
    workers: int,
    seed: int,
    device: torch.device,
) -> DataLoaders:
    """Return `DataLoaders` of crops, their measurements if there are any, and their types.

    Each type is drawn equally often in training.
    """
    set_seed(seed, reproducible=True)
    used = list(items)
    names = pd.Series([i.labels[0] for i in used if not is_valid(i)])
    weights = (1 / names.map(names.value_counts())).to_numpy(float)
    normalize = Normalize.from_stats(list(facts.mean), list(facts.std), cuda=False)
    known: dict[str, Any] = {"facts": facts, "vocab": list(facts.vocab), "c": len(facts.vocab)}
    inputs = [PictureBlock(normalize), *([TransformBlock(type_tfms=measurements_of)] if facts.measurements else [])]
    block = FieldDataBlock(
        blocks=(*inputs, ClassesBlock(facts.vocab)),
        n_inp=len(inputs),
        items_of=lambda path: [],
        known=known,
        get_items=lambda source: source,
        get_y=target_of,
        splitter=FuncSplitter(is_valid),
        batch_tfms=[PictureAugment(color=False)] if augment else [],
    )
    how = {"dl_type": WeightedDL, "dl_kwargs": ({"wgts": weights}, {})}
    return block.dataloaders(used, bs=bs, num_workers=workers, device=device, persistent_workers=False, **how)
