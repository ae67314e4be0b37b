"""The model that comes with the package: works in every verb without a run, and is a start for training."""

import json
from importlib.resources import files

import numpy as np
import pytest
import torch
from PIL import Image

from dedl_fastai.cells.watershed import instances
from dedl_fastai.errors import UserError
from dedl_fastai.inference import Ensemble, Segmenter, load_run
from dedl_fastai.models.names import NUCLEI
from dedl_fastai.models.segmentation import SegSpec, create_seg_model
from dedl_fastai.runs.evaluation import evaluate_run
from dedl_fastai.runs.export import export_run
from dedl_fastai.scores.object_matches import count_matches, pool_matches


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A grey picture of blurred discs of 9 to 13 px radius, some of which touch, and their ids."""
    rng, edge = np.random.default_rng(0), 192
    y, x = np.mgrid[:edge, :edge]
    centres = [(30, 40), (34, 62), (90, 30), (100, 120), (118, 133), (150, 60), (40, 140), (160, 150)]
    radii = [12, 11, 9, 13, 10, 12, 10, 11]
    ids = np.zeros((edge, edge), np.int32)
    pixels = rng.normal(12, 2, (edge, edge))
    for i, ((cy, cx), r) in enumerate(zip(centres, radii, strict=True), 1):
        distance = np.hypot(y - cy, x - cx)
        ids[(distance < r) & (ids == 0)] = i
        pixels += 150 / (1 + np.exp((distance - r) / 1.2))
    path = tmp_path_factory.mktemp("nuclei") / "discs.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path, ids


def test_it_finds_nuclei_that_touch(field):
    path, ids = field
    model = Segmenter.nuclei()
    assert model.head == "distance" and load_run(NUCLEI).threshold == model.threshold
    found = model.segment(path)
    assert pool_matches([count_matches(found, ids, [0.5])])[0.5].scores()["f1"] == 1
    cells = model.cells(path)
    assert len(cells) == 8 and np.array_equal(found, Ensemble.load([NUCLEI]).segment(path))
    together = instances(model.probability(path), model.threshold)  # without the head, by the distance to the rim
    assert together.max() <= 8


def test_the_folder_in_the_package_is_a_run_without_paths_of_a_machine():
    folder = files("dedl_fastai.models") / "nuclei"
    texts = {f.name: f.read_text(encoding="utf-8") for f in folder.iterdir() if not f.name.endswith(".safetensors")}
    assert set(texts) == {"README.md", "model.json", "config.json", "splits.json", "metrics.json", "operators.json"}
    assert json.loads(texts["config.json"])["data"] == "dsb2018_fluo"
    assert not any("/work" in text or "/home" in text for text in texts.values())
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size < 15 * 2**20


def test_a_copy_of_a_run_predicts_as_the_run(field, tmp_path):
    path, _ = field
    exported = export_run(NUCLEI, format="run", out=tmp_path / "copy")
    assert exported.agreement.changed == 0 and exported.megabytes < 15
    assert np.array_equal(load_run(tmp_path / "copy").segment(path), Segmenter.nuclei().segment(path))
    with pytest.raises(UserError, match="nothing is written into the package"):
        export_run(NUCLEI, format="run")


def test_it_is_a_start_for_training():
    spec = SegSpec.from_dict(load_run(NUCLEI).card["network"])
    own = load_run(NUCLEI).model.state_dict()
    for head in ("distance", "mask"):
        started = create_seg_model(SegSpec(**{**spec.to_dict(), "head": head}), NUCLEI, 128).state_dict()
        assert all(torch.equal(started[name], own[name]) for name in started)
    with pytest.raises(UserError, match="belongs to another network"):
        create_seg_model(SegSpec(encoder="resnet18"), NUCLEI, 128)


def test_its_fields_are_not_in_the_package():
    with pytest.raises(UserError, match=r"dsb2018_fluo.*are not here: give `data`"):
        evaluate_run(NUCLEI)
