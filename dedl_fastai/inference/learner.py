"""`learn.predict` of image files of any size, in fastai's manner of methods that are patched onto the Learner."""

from pathlib import Path
from typing import Any

from fastai.learner import Learner
from fastcore.basics import patch

from ..data.segmentation.tensors import TensorField
from ..io.fields.field import Field
from ..training.learner import FieldLearner
from ..training.segmentation.learner import SegLearner
from .predicted import predicted_classes
from .segmenter import Segmenter


@patch
def predict(self: FieldLearner, item: Any, rm_type_tfms: int | None = None, with_input: bool = False) -> tuple:
    """fastai's `predict` of an item, or of an image file (or an open `Field`) as a whole.

    A segmentation returns the mask (H, W), the same mask as a tensor of integers, and the probabilities (K, H, W) of
    the whole field, predicted in overlapping tiles as `Segmenter` does. A classification returns the names of the
    predicted classes, 0 or 1 for each class, and the probabilities; a model of tiles gives the maximum over the tiles.
    The thresholds are those that `learn.evaluate` tuned, 0.5 before.
    """
    reads_files = getattr(self.dls.facts, "of_fields", True)  # else a path is an item of the user's own loaders
    if not reads_files or not isinstance(item, str | Path | Field):
        return Learner.predict(self, item, rm_type_tfms, with_input)
    return (_segmented if isinstance(self, SegLearner) else _classified)(self, item, with_input)


def _segmented(learn: SegLearner, image: str | Path | Field, with_input: bool) -> tuple:
    was_training = learn.model.training
    segmenter = Segmenter.of(learn)
    pixels = segmenter.read(image.path if isinstance(image, Field) else image)
    found = segmenter.predict(pixels)
    learn.model.train(was_training)
    return (TensorField(pixels), *found) if with_input else found


def _classified(learn: FieldLearner, image: str | Path | Field, with_input: bool) -> tuple:
    path = image.path if isinstance(image, Field) else image
    inputs, preds, _ = learn.get_preds(dl=learn.dls.test_dl([path], num_workers=0), with_input=True)
    values = dict(zip(learn.dls.vocab, preds.max(dim=0).values.tolist(), strict=True))
    found = predicted_classes(values, getattr(learn, "thresholds", None) or [0.5] * len(values))
    return (learn.dls.decode_batch((inputs, preds))[0][0], *found) if with_input else found
