"""Heads: ids as targets, maps beside the mask that leave it as it is, and runs with them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import dedl_fastai.all  # noqa: F401 (the verbs)
from dedl_fastai.data import Cohort, TensorInstances, TensorNuclei, TileAugment, seg_dataloaders, split_cohort
from dedl_fastai.errors import UserError
from dedl_fastai.inference import Ensemble, Segmenter, load_run
from dedl_fastai.models.weights import write_tensors
from dedl_fastai.runs import SegConfig, evaluate_run, export_run, train_seg
from dedl_fastai.training import seg_learner
from dedl_fastai.training.segmentation.head import head_loss

from ...figures import drawn_figures
from ...options import NETWORK

HEADS = ["distance", "flow"]
KEEP = TileAugment(max_rotate=0, flips=False)
TINY_NET = dict(arch="unet", encoder="tu-test_resnet", weights="none", depth=2, decoder_channels=(16, 16))


def discs(seed: int, shape=(64, 96)) -> np.ndarray:
    """Ids of touching discs."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    yy, xx = np.indices(shape)
    for i in range(1, 15):
        y, x, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(5, 9)
        labels[((yy - y) ** 2 + (xx - x) ** 2 <= radius**2) & (labels == 0)] = i
    return np.unique(labels, return_inverse=True)[1].reshape(shape).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six fields of touching discs with masks of ids; the last training field has a binary mask."""
    root = tmp_path_factory.mktemp("discs")
    (root / "images").mkdir(), (root / "masks").mkdir()
    rows = []
    for i, split in enumerate(["train", "train", "train", "valid", "test", "test"]):
        ids = discs(i)
        image = (ids > 0) * 150.0 + np.random.default_rng(i).normal(40, 10, ids.shape)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{i}.png")
        Image.fromarray((ids > 0).astype(np.uint16) if i == 2 else ids).save(root / "masks" / f"{i}.png")
        rows.append({"field": str(i), "image": f"images/{i}.png", "mask": f"masks/{i}.png", "split": split})
    pd.DataFrame([{**r, "patient": r["field"], "labels": ""} for r in rows]).to_csv(root / "cohort.csv", index=False)
    return root


@pytest.fixture(scope="module")
def cohort(folder):
    return split_cohort(Cohort.load(folder))


def loaders(cohort, **options):
    return seg_dataloaders(cohort, tile=32, bs=4, seed=0, **options)


def fitted(cohort, n=1, seed=0, **options):
    torch.manual_seed(seed)
    learn = seg_learner(loaders(cohort, ids="head" in options), loss="ce-dice", **TINY_NET, **options)
    torch.manual_seed(seed)
    with learn.no_bar(), learn.no_logging():
        learn.fit_cosine(n, 2e-3)
    return learn


@pytest.fixture(scope="module", params=HEADS)
def run(request, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / request.param
    options = {**NETWORK, "preset": "demo", "tile": 32, "bs": 4, "epochs": 3, "data": str(folder)}
    options |= {"head": request.param, "augment": "standard"}
    with drawn_figures():
        train_seg(SegConfig.resolve(options), out)
    return out


def test_targets_are_ids_and_move_with_the_image(cohort):
    x, y = loaders(cohort, ids=True, augment=[KEEP]).valid.one_batch()
    assert type(y) is TensorInstances and int(y.max()) > 1
    assert type(y.mask()) is TensorNuclei and torch.equal(y.mask() > 0, y > 0)
    x, y = loaders(cohort, ids=True, augment=[TileAugment(max_rotate=180)]).train.one_batch()
    bright = x.as_subclass(torch.Tensor)[:, 0]
    inside = y.as_subclass(torch.Tensor) != 0
    assert float(bright[inside].mean()) > float(bright[~inside].mean()) + 1


def test_a_mask_without_ids_is_marked_as_unknown(cohort):
    items = loaders(cohort, ids=True).train.items
    values = {i.source.field: set(np.unique(i.nuclei())) for i in items}
    assert -1 in values["2"] and min(values["0"]) == 0


@pytest.mark.parametrize("n_maps", [1, 2])
def test_loss_is_lowest_at_the_true_maps_and_ignores_unknown_nuclei(n_maps):
    from dedl_fastai.cells.maps import true_maps

    ids = torch.from_numpy(discs(0).astype(np.int64))[None]
    truth = torch.from_numpy(true_maps(ids[0].numpy(), n_maps))[None].clamp(1e-4, 1 - 1e-4)
    right, wrong = torch.logit(truth), torch.logit(1 - truth)
    assert float(head_loss(right, ids)) == pytest.approx(0, abs=1e-6) and float(head_loss(wrong, ids)) > 1
    unknown = torch.where(ids > 0, -1, 0)
    outside = torch.where(ids[:, None] == 0, right, wrong)
    assert float(head_loss(outside, unknown)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_with_weight_0_the_mask_is_that_of_no_head(cohort, head):
    plain, with_head = fitted(cohort), fitted(cohort, head=head, head_weight=0.0)
    np.testing.assert_allclose(plain.recorder.values[-1], with_head.recorder.values[-1], atol=1e-6)
    torch.testing.assert_close(plain.get_preds()[0], with_head.get_preds()[0], atol=1e-5, rtol=1e-4)


def test_the_head_learns_beside_the_mask(cohort):
    learn = fitted(cohort, n=4, head="distance")
    head = next(cb for cb in learn.cbs if cb.name == "head")
    assert 0 < head.history()["head_loss"] < fitted(cohort, n=1, head="distance").head.history()["head_loss"]
    assert learn.get_preds()[0].shape[1] == 2  # all else sees the classes


def test_loaders_of_masks_are_refused(cohort):
    learn = seg_learner(loaders(cohort), head="distance", **TINY_NET)
    with learn.no_bar(), learn.no_logging(), pytest.raises(UserError, match="ids=True"):
        learn.fit(1)


@pytest.mark.parametrize("wrong", [{"head": "stars"}, {"head": "distance", "head_weight": -1.0}])
def test_unknown_heads_and_negative_weights_are_refused(cohort, wrong):
    with pytest.raises(UserError, match="head"):
        seg_learner(loaders(cohort, ids=True), **TINY_NET, **wrong)


def test_app_trains_beside_a_head(cohort):
    learn = fitted(cohort, head="distance", app="gelu")
    assert np.isfinite(learn.recorder.values[-1]).all()


def test_a_run_keeps_head_and_tuned_separation(run):
    card, metrics = (json.loads((run / f"{n}.json").read_text()) for n in ("model", "metrics"))
    assert card["network"]["head"] == run.name and card["nuclei"] == metrics["nuclei_tuning"]["value"]
    assert "head_loss" in (run / "history.csv").read_text().splitlines()[0]
    model = load_run(run)
    assert model.separation.h == card["nuclei"]["h"] and model.separation.threshold == card["nuclei"]["threshold"]


def test_the_kinds_of_errors_add_up_and_are_drawn(run):
    objects = json.loads((run / "metrics.json").read_text())["objects"]["test"]
    errors = objects["errors"]
    assert errors["found"] + errors["missed"] + errors["split"] + errors["merged"] == objects["n_true"]
    assert errors["found"] == objects["matching"][0]["tp"]
    assert sum(f["errors"]["found"] for f in objects["fields"]) == errors["found"]
    assert (run / "figures" / "nuclei.png").stat().st_size > 5000


def test_evaluate_gives_the_nuclei_of_the_run(run):
    assert evaluate_run(run)["objects"] == {"test": json.loads((run / "metrics.json").read_text())["objects"]["test"]}


def test_the_true_maps_part_nearly_all_nuclei(run):
    objects = json.loads((run / "metrics.json").read_text())["objects"]["test"]
    assert objects["baselines"]["ceiling"]["f1_50"] > 0.9 > objects["baselines"]["otsu"]["f1_50"]


def test_planes_do_not_depend_on_batches_and_turn_back(run, cohort):
    image = cohort.table.image[0]
    model, one = load_run(run), load_run(run, bs=1)
    pixels = model.read(image)
    np.testing.assert_allclose(model.planes(pixels), one.planes(pixels), atol=1e-5)
    turned = load_run(run, tta="dihedral")
    there = turned.planes(pixels)
    back = np.rot90(turned.planes(np.ascontiguousarray(np.rot90(pixels, axes=(1, 2)))), -1, axes=(1, 2))
    n = 1 if run.name == "flow" else 2  # the directions of a flow turn with the field: tests/cells/test_flow.py
    np.testing.assert_allclose(there[:n], back[:n], atol=1e-4)


def test_predicted_nuclei_are_those_of_the_planes(run, cohort):
    from dedl_fastai.cells.watershed import instances

    image, model = cohort.table.image[0], load_run(run)
    probability, *maps = model.planes(model.read(image))
    by_head = {"distance": maps[0]} if run.name == "distance" else {"flow": np.stack(maps)}
    expected = instances(probability, model.separation.threshold, h=model.separation.h, **by_head)
    np.testing.assert_array_equal(Ensemble([model]).segment(image), expected)


def test_members_with_other_heads_are_refused(run, folder, tmp_path):
    options = {**NETWORK, "preset": "demo", "tile": 32, "bs": 4, "epochs": 1, "data": str(folder), "head": "mask"}
    train_seg(SegConfig.resolve(options), tmp_path / "mask")
    with pytest.raises(UserError, match="head"):
        Ensemble.load([run, tmp_path / "mask"])


@pytest.mark.parametrize("run", ["distance"], indirect=True)  # the other head in the next test: exports are slow
def test_an_engine_gives_the_same_planes(run, cohort):
    pytest.importorskip("onnxscript")
    pytest.importorskip("openvino")
    image = cohort.table.image[0]
    model, other = load_run(run), load_run(run, engine="openvino")
    np.testing.assert_allclose(other.planes(model.read(image)), model.planes(model.read(image)), atol=1e-3)


@pytest.mark.parametrize("run", ["flow"], indirect=True)
def test_export_holds_probability_and_maps(run, tmp_path):
    pytest.importorskip("onnxruntime")
    exported = export_run(run, out=tmp_path / "model.onnx")
    assert exported.agreement.max_difference < 1e-3


def test_a_learner_of_a_notebook_keeps_its_separation(cohort, tmp_path):
    learn = fitted(cohort, n=2, head="distance")
    run = learn.save_run(tmp_path / "run")
    assert load_run(run).separation == Segmenter.of(learn).separation
    assert json.loads((run / "config.json").read_text())["head"] == "distance"


def test_training_goes_on_from_a_run_with_its_head_and_from_one_without(run, cohort, tmp_path):
    first = load_run(run).model.state_dict()
    plain = {k: v for k, v in first.items() if ".maps." not in k}
    write_tensors(tmp_path / "plain.safetensors", plain)
    for file, expected in ((run / "best.safetensors", first), (tmp_path / "plain.safetensors", plain)):
        options = {**TINY_NET, "attention": "se", "head": run.name, "weights": str(file)}
        own = seg_learner(loaders(cohort, ids=True), **options).model.state_dict()
        assert all(torch.equal(own[k], v) for k, v in expected.items())


def test_by_default_presets_have_the_head_if_masks_tell_nuclei_apart(folder, tiny_folder, tmp_path, caplog):
    options = {"preset": "demo", "tile": 32, "epochs": 1, **NETWORK}
    heads = {}
    for name, data in (("ids", folder), ("binary", tiny_folder)):
        config = SegConfig.resolve({**options, "data": str(data)})
        train_seg(config, tmp_path / name)
        heads[name] = json.loads((tmp_path / name / "config.json").read_text())["head"]
        assert train_seg(config, tmp_path / name) == json.loads((tmp_path / name / "metrics.json").read_text())
    assert heads == {"ids": "distance", "binary": "mask"}
    with pytest.raises(UserError, match="head=mask"):
        train_seg(SegConfig.resolve({**options, "data": str(tiny_folder), "head": "flow"}), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
