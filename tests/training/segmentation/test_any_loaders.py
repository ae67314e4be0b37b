"""`seg_learner` on loaders that were not made from a cohort: fastai's own images and masks."""

import numpy as np
import pytest
import torch
from fastai.vision.all import DataBlock, DataLoaders, ImageBlock, MaskBlock, Normalize, RandomSplitter, imagenet_stats
from PIL import Image

import dedl_fastai.all  # noqa: F401 (the verbs)
from dedl_fastai.data import PercentileScaling, SegFacts
from dedl_fastai.errors import UserError
from dedl_fastai.inference import Segmenter
from dedl_fastai.training import seg_learner


@pytest.fixture(scope="module")
def dls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(6):
        mask = np.zeros((32, 32), np.uint8)
        mask[:8] = 1  # a quarter of the pixels
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8) | (mask[..., None] * 128)).save(
            folder / f"{i}.png"
        )
        Image.fromarray(mask).save(folder / f"{i}_mask.png")
    block = DataBlock(
        blocks=(ImageBlock, MaskBlock(codes=["back", "cell"])),
        get_items=lambda source: sorted(p for p in source.glob("*.png") if "mask" not in p.name),
        get_y=lambda path: path.with_name(f"{path.stem}_mask.png"),
        splitter=RandomSplitter(0.34, seed=0),
        batch_tfms=[Normalize.from_stats(*imagenet_stats, cuda=False)],
    )
    return block.dataloaders(folder, bs=2, device="cpu")


def learner(dls, **options):
    return seg_learner(dls, "unet", "tu-test_resnet", "none", depth=2, decoder_channels=(16, 16), **options)


def test_facts_are_measured(dls):
    facts = learner(dls).dls.facts
    assert facts.foreground == pytest.approx(0.25) and facts.classes == ("back", "cell")
    assert facts.tile == 32 and facts.channels == ("0", "1", "2")
    assert facts.mean == pytest.approx(imagenet_stats[0]) and facts.std == pytest.approx(imagenet_stats[1])


def test_measuring_does_not_move_the_generators(dls):
    torch.manual_seed(1)
    learn = learner(dls)
    weights = next(learn.model.parameters()).clone()
    torch.manual_seed(1)
    assert torch.equal(weights, next(learner(dls, facts=learn.dls.facts).model.parameters()))


def test_it_trains_and_predicts(dls):
    learn = learner(dls)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 1e-3)
        assert np.isfinite(learn.recorder.values[-1]).all()
        assert learn.predict(dls.valid.items[0])[2].shape == (2, 32, 32)


def test_files_are_refused_because_their_scaling_is_not_known(dls):
    del dls.facts
    with pytest.raises(UserError, match="facts"):
        Segmenter.of(learner(dls))


def test_given_facts_make_files_readable(dls):
    facts = SegFacts(("red", "green", "blue"), PercentileScaling(), (0.5,) * 3, (0.2,) * 3, tile=32, foreground=0.25)
    learn = learner(dls, facts=facts)
    assert learn.dls.facts == facts
    assert Segmenter.of(learn).facts.channels == ("red", "green", "blue")


def test_batches_of_other_shapes_are_refused():
    items = [(torch.zeros(3, 32, 32), torch.tensor(1)) for _ in range(4)]
    with pytest.raises(UserError, match="masks"):
        learner(DataLoaders.from_dsets(items, items, bs=2, device="cpu"))
