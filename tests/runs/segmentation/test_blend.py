"""Weights between the start and the end of a training: which are taken, and that a call can be repeated."""

import pytest
import torch

from dedl_fastai.models.weights import read_tensors, write_tensors
from dedl_fastai.runs import SegConfig, train_seg
from dedl_fastai.runs.options.seg import FINETUNE
from dedl_fastai.runs.segmentation import blend as module
from dedl_fastai.training.run_folder import RunFolder

from ...options import TINY


class FakeSegmenter:
    """Its validation score is a function of its single weight, which is 0 at the start and 1 after training."""

    def __init__(self, score):
        self.model, self.score = self, score

    def load_state_dict(self, tensors):
        self.weight = float(tensors["w"])


@pytest.fixture
def blended(tmp_path, monkeypatch):
    """Blend with such a score; returns the share, and the weight that was written."""
    write_tensors(tmp_path / "best.safetensors", {"w": torch.ones(1), "n": torch.tensor(7)})
    start = {"w": torch.zeros(1), "n": torch.tensor(3)}

    def blend(score):
        monkeypatch.setattr(module, "load_segmenter", lambda *_a, **_k: FakeSegmenter(score))
        monkeypatch.setattr(
            module, "_validation_score", lambda segmenter, _cohort: (segmenter.score(segmenter.weight), "IoU")
        )
        found = module.blend_with_start(RunFolder(tmp_path), SegConfig(), None, start)
        written = read_tensors(tmp_path / "best.safetensors")
        assert written["n"] == 7
        return found, float(written["w"])

    return blend


@pytest.mark.parametrize(
    ("score", "share"),
    [
        (lambda w: w, 1.0),
        (lambda w: -w, 0.1),
        (lambda w: -((w - 0.5) ** 2), 0.5),
        (lambda w: 0.5 + 0.01 * w, 0.1),  # validation fields do not tell the shares apart
        (lambda w: 0.5 + 0.02 * w, 0.5),
    ],
)
def test_the_smallest_share_that_is_about_the_best_is_taken(blended, score, share):
    found, weight = blended(score)
    assert found["share"] == share and weight == pytest.approx(share) and found["metric"] == "IoU"
    assert found["scores"] == {f"{s:g}": pytest.approx(score(s)) for s in (0.1, 0.25, 0.5, 0.75, 1)}


def test_a_call_that_was_interrupted_starts_from_the_trained_weights_again(blended, tmp_path):
    assert blended(lambda w: -w)[1] == pytest.approx(0.1)
    assert blended(lambda w: w)[1] == 1.0
    module.remove_unblended(RunFolder(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"]


def test_only_finetune_blends(tiny_folder, tmp_path):
    assert SegConfig.resolve({"preset": FINETUNE, "weights": "nuclei"}).blend
    assert not any(SegConfig.resolve({"preset": p}).blend for p in ("paper", "fast", "best", "demo"))
    metrics = train_seg(SegConfig.resolve({**TINY, "data": str(tiny_folder), "epochs": 1}), tmp_path / "run", bar=False)
    assert "blend" not in metrics
