"""The verbs of `clf_learner`, for each input."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from fastai.callback.mixup import MixUp

from dedl_fastai.data import Cohort, clf_dataloaders, split_cohort
from dedl_fastai.training import clf_learner

from .verbs import LearnerVerbs


@pytest.fixture(scope="module")
def image(many_folder):
    return Cohort.load(many_folder).table.image[0]


class ClfVerbs(LearnerVerbs):
    """The contract, and what only classification has."""

    input = ""
    channels: tuple[str, ...] = ()
    monitor = "f1_macro"
    _loaders: ClassVar[dict] = {}  # one for each input: they take a while to build

    @pytest.fixture
    def learn(self, many_folder, tmp_path):
        if self.input not in self._loaders:
            cohort = split_cohort(Cohort.load(many_folder))
            made = clf_dataloaders(cohort, self.input, size=32, bs=8, channels=self.channels, seed=0)
            self._loaders[self.input] = made
        torch.manual_seed(0)
        return clf_learner(self._loaders[self.input], "test_resnet", "none", path=tmp_path)

    def test_predict_names_the_classes(self, learn, image):
        names, present, probability = learn.predict(image)
        vocab = list(learn.dls.vocab)
        assert list(names) == [c for c, there in zip(vocab, present, strict=True) if there]
        assert len(probability) == len(vocab)

    def test_mixup(self, learn):
        learn.fit(1, 1e-3, cbs=MixUp())
        assert np.isfinite(learn.recorder.losses).all()


class TestThumbnail(ClfVerbs):
    input = "thumbnail"


class TestAutofluorescence(ClfVerbs):
    input = "autofluorescence"


class TestComposite(ClfVerbs):
    input = "composite"


class TestMarkers(ClfVerbs):
    input = "markers"
