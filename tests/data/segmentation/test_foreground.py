"""`sample="foreground"`: tiles with nuclei come more often, in as many steps, by the loader's own generator."""

import random
from collections import Counter

import numpy as np
import pytest

from dedl_fastai.data import seg_dataloaders
from dedl_fastai.data.segmentation.foreground import ForegroundDL, chances_of
from dedl_fastai.errors import UserError
from dedl_fastai.runs.options.seg import SegConfig


class Square:
    """A tile of 4 pixels with so many of nuclei, of which ids may be any."""

    def __init__(self, n: int):
        self.n = n

    def mask(self):
        return np.array([[7] * self.n + [0] * (3 - self.n) + [-2]])


@pytest.fixture
def fields(pictures):
    """A training field of four tiles of 32 px, one full and one half full of nuclei, and a validation field."""
    masks = {name: np.zeros((64, 64), np.uint8) for name in "ab"}
    masks["a"][:32, :32] = 255
    masks["a"][32:48, 32:] = 255
    masks["b"][:32] = 255
    shades = np.arange(64, dtype=np.uint8)
    pixels = {name: np.add.outer(shades, shades) for name in masks}
    return pictures({n: (pixels[n], masks[n]) for n in masks}, {"a": "train", "b": "valid"})


def loaders(cohort, **arguments):
    return seg_dataloaders(cohort, tile=32, bs=2, channels=["0"], augment=[], device="cpu", **arguments)


def order(loader, epochs=1):
    """The places of the tiles of some epochs, in order."""
    tiles = []
    for _ in range(epochs):
        loader.rng = random.Random(loader.rng.randint(0, 99999999))
        tiles += [(loader.items[i].y, loader.items[i].x) for i in loader.get_idxs()]
    return tiles


def test_a_third_of_the_draws_is_in_proportion_to_the_foreground():
    tiles = [Square(n) for n in (3, 1, 0, 0)]
    assert chances_of(tiles) == pytest.approx([1 / 6 + 1 / 4, 1 / 6 + 1 / 12, 1 / 6, 1 / 6])
    assert chances_of([Square(0)] * 4) == pytest.approx([1 / 4] * 4)


def test_tiles_are_drawn_with_these_chances_in_as_many_steps(fields):
    dls = loaders(fields, sample="foreground")
    assert isinstance(dls.train, ForegroundDL) and len(dls.train) == 2
    n = Counter(order(dls.train, epochs=2000))
    expected = {(0, 0): 1 / 6 + 2 / 9, (32, 32): 1 / 6 + 1 / 9, (0, 32): 1 / 6, (32, 0): 1 / 6}
    assert n.total() == 8000
    assert {place: count / 8000 for place, count in n.items()} == pytest.approx(expected, abs=0.02)  # 4 deviations
    assert len(list(dls.train)) == 2 and sum(len(x) for x, _ in dls.train) == 4


def test_validation_and_test_loaders_give_every_tile_once(fields):
    dls = loaders(fields, sample="foreground")
    corners = [(y, x) for y in (0, 32) for x in (0, 32)]
    assert order(dls.valid) == corners
    assert order(dls.test_dl([str(fields.table.image[0])])) == corners


def test_the_seed_gives_the_draws_and_uniform_gives_every_tile_once(fields):
    drawn = [order(loaders(fields, sample="foreground", seed=s).train, epochs=5) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert Counter(order(loaders(fields).train, epochs=5)) == {(y, x): 5 for y in (0, 32) for x in (0, 32)}


def test_an_unknown_way_is_refused_and_the_option_is_stored(fields):
    with pytest.raises(UserError, match="sample='all' is unknown; it may be uniform or foreground"):
        loaders(fields, sample="all")
    with pytest.raises(UserError, match="sample='all' is unknown"):
        SegConfig.resolve({"sample": "all"})
    assert SegConfig.resolve({"sample": "foreground"}).to_dict()["sample"] == "foreground"
    assert SegConfig.from_dict({}).sample == "uniform"  # runs from before there was a choice
