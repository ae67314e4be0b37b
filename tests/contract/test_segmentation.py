"""The verbs of `seg_learner`, for each loss."""

import copy

import pytest
import torch
from fastai.interpret import SegmentationInterpretation

from dedl_fastai.data import Cohort, TileAugment, seg_dataloaders
from dedl_fastai.io import open_field
from dedl_fastai.models.segmentation import create_seg_model
from dedl_fastai.training import seg_learner

from .verbs import LearnerVerbs


def few_fields(folder):
    """Two fields to train and one to validate: 3 and 2 batches."""
    cohort = Cohort.load(folder)
    return cohort.with_split(["train"] * 2 + ["valid"] + ["ignore"] * (len(cohort) - 3))


@pytest.fixture(scope="module")
def tiles(tiny_folder):
    return seg_dataloaders(few_fields(tiny_folder), tile=32, bs=8, seed=0, augment=[TileAugment()])


@pytest.fixture(scope="module")
def tiles_with_ids(tiny_folder):
    return seg_dataloaders(few_fields(tiny_folder), tile=32, bs=8, seed=0, ids=True)


@pytest.fixture(scope="module", autouse=True)
def _networks_are_copied():
    """Build each network once: most of a verb's time is that of smp."""
    built = {}

    def copied(*args):
        if args not in built:
            built[args] = create_seg_model(*args)
        return copy.deepcopy(built[args])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dedl_fastai.training.segmentation.learner.create_seg_model", copied)
        yield


@pytest.fixture(scope="module")
def image(tiny_folder):
    return Cohort.load(tiny_folder).table.image[0]


class SegVerbs(LearnerVerbs):
    """The contract, and what only segmentation has."""

    loss = ""
    head = "mask"
    monitor = "iou"

    @pytest.fixture
    def learn(self, tiles, tmp_path):
        torch.manual_seed(0)
        return seg_learner(
            tiles,
            "unet",
            "tu-test_resnet",
            "none",
            depth=2,
            decoder_channels=(16, 16),
            loss=self.loss,
            head=self.head,
            path=tmp_path,
        )

    def test_predict_path_is_the_whole_field(self, learn, image):
        mask, label, probability = learn.predict(image)
        with open_field(image) as field:
            assert tuple(mask.shape) == tuple(label.shape) == field.shape
            assert tuple(probability.shape) == (2, *field.shape)

    def test_tta_turns_predictions_back(self, learn):
        """A model that knows the place of nothing but answers pixel by pixel is not changed by any turn."""
        learn.model.forward = lambda x: torch.cat([0.5 - x[:, :1], x[:, :1] - 0.5], dim=1)
        assert torch.allclose(learn.tta()[0], learn.get_preds()[0], atol=1e-5)

    def test_segmentation_interpretation(self, learn):
        found = SegmentationInterpretation.from_learner(learn)
        found.plot_top_losses(2)
        assert len(found.top_losses(2)[0]) == 2


class TestWeightedCrossEntropy(SegVerbs):
    loss = "weighted-ce"


class TestCrossEntropy(SegVerbs):
    loss = "ce"


class TestDice(SegVerbs):
    loss = "dice"


class TestCrossEntropyDice(SegVerbs):
    loss = "ce-dice"


class TestFocal(SegVerbs):
    loss = "focal"


class TestDistanceHead(SegVerbs):
    loss = "ce-dice"
    head = "distance"

    @pytest.fixture
    def tiles(self, tiles_with_ids):
        return tiles_with_ids

    def test_tta_turns_predictions_back(self, learn):
        learn.model.forward = lambda x: torch.cat([0.5 - x[:, :1], x[:, :1] - 0.5, x[:, :1]], dim=1)
        assert torch.allclose(learn.tta()[0], learn.get_preds()[0], atol=1e-5)
