"""README.md of a run: its data, split, scores beside baselines, limits; no path of the machine."""

import json

import pytest

from dedl_fastai.runs.classification.training import train_clf
from dedl_fastai.runs.options.clf import ClfConfig
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.packing import pack_run
from dedl_fastai.runs.segmentation.training import train_seg

from ..options import TINY, TINY_CLF


@pytest.fixture(scope="module")
def run(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme") / "run"
    train_seg(SegConfig.resolve({**TINY, "epochs": 1, "data": str(tiny_folder)}), folder, bar=False)
    return folder


def test_a_segmentation_has_data_split_scores_and_baselines(run, tiny_folder):
    text, metrics = (run / "README.md").read_text(), json.loads((run / "metrics.json").read_text())
    assert "`cohort`, 7 fields of 7 patients; channels DAPI" in text and str(tiny_folder.parent) not in text
    low, high = metrics["test"]["intervals"]["iou"]
    assert f"| this model | {metrics['test']['iou']:.3f} ({low:.3f} to {high:.3f}) |" in text
    assert f"| otsu | {metrics['baselines']['otsu']['test']['iou']:.3f} (" in text and "| background |" in text
    assert "unet on tu-test_resnet, depth 2, from the weights `none`" in text and "Licence" in text
    assert "tested on " in text and "Valid: thresholds were tuned on it" in text


def test_a_copy_has_its_own_and_keeps_one_that_exists(run, tmp_path):
    pack_run(run, tmp_path / "copy")
    assert "| this model |" in (tmp_path / "copy" / "README.md").read_text()
    (tmp_path / "copy" / "README.md").write_text("mine")
    pack_run(run, tmp_path / "copy")
    assert (tmp_path / "copy" / "README.md").read_text() == "mine"


def test_a_classification_has_its_baselines(many_folder, tmp_path):
    train_clf(ClfConfig.resolve({**TINY_CLF, "epochs": 1, "data": str(many_folder)}), tmp_path / "run", bar=False)
    text = (tmp_path / "run" / "README.md").read_text()
    assert "| forest |" in text and "macro F1" in text and "test_resnet, from the weights" in text
