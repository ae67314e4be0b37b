"""Classes of fields from their cells: the aggregation, the cells of tiles, a run from options to predictions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dedl_fastai.data import Cohort
from dedl_fastai.errors import UserError
from dedl_fastai.inference import ClassifierEnsemble, load_run
from dedl_fastai.inference.field_bags import FieldBags, check_unit
from dedl_fastai.io import open_field, write_ome_zarr
from dedl_fastai.models.cell_bags import BagsSpec, CellBags
from dedl_fastai.runs.classification import cell_bags
from dedl_fastai.runs.classification.training import train_clf
from dedl_fastai.runs.evaluation import evaluate_run
from dedl_fastai.runs.explanation import draw_explanation
from dedl_fastai.runs.export import export_run
from dedl_fastai.runs.options.clf import ClfConfig
from dedl_fastai.training.run_folder import data_fingerprint


def test_a_field_has_a_class_if_some_cell_has_it():
    torch.manual_seed(0)
    model = CellBags(BagsSpec(features=3, classes=2, members=2)).eval()
    cells, bag = torch.randn(5, 3), torch.tensor([0, 0, 2, 2, 2])
    p = model(cells, bag, 3).sigmoid()
    for member, of_member in zip(model.members, p, strict=True):
        none = 1 - member(cells).sigmoid()
        torch.testing.assert_close(of_member[0], 1 - none[:2].prod(dim=0))
        torch.testing.assert_close(of_member[2], 1 - none[2:].prod(dim=0))
        assert (of_member[1] < 1e-5).all()  # a field without cells
    cells[0, 1] = torch.nan
    assert model(cells, bag, 3).isfinite().all()


def test_a_tile_has_the_cells_with_their_centre_in_it():
    rows = np.array([[0, 5, 5, 1, 10], [1, 5, 15, 2, 20], [2, 15, 5, 3, 30]], np.float32)[:, [1, 2, 0, 3, 4]]
    bags = FieldBags("run", lambda seg: None, ("A",), known={"f.tif": rows})  # y, x, unit, raw, scaled
    assert bags.of_tile("f.tif", (0, 10), 10, "raw").tolist() == [[2]]
    assert bags.of_tile("f.tif", (10, 0), 10, "scaled").tolist() == [[30]]
    assert bags.of_tile("f.tif", (10, 10), 10, "raw").shape == (0, 1)
    assert bags.of_tile("f.tif", (0, 0), 0, "raw").tolist() == [[1], [2], [3]]
    with pytest.raises(UserError, match="pixel size"):
        check_unit("px", "um", "f.tif")


@pytest.fixture(scope="module")
def options(many_folder):
    return ClfConfig.resolve({"preset": "demo", "input": "cells", "data": str(many_folder), "size": 32})


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    run = tmp_path_factory.mktemp("bags") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_bags, "_STEPS", 60)
        train_clf(options, run)
    return run


def test_a_run_has_the_files_and_metrics_of_a_classification(options, finished):
    names = {p.name for p in finished.iterdir()}
    assert {"config.json", "splits.json", "model.json", "history.csv", "best.safetensors", "figures", "labels"} <= names
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["task"] == "classification" and metrics["baselines"].keys() == {"constant", "forest"}
    assert metrics["test"]["map"] > metrics["baselines"]["constant"]["test"]["map"]
    card = json.loads((finished / "model.json").read_text())
    assert card["cells"]["seg"] == "nuclei" and card["cells"]["unit"] == "um" and "DAPI" in card["cells"]["channels"]


def test_the_model_card_says_what_the_cells_are(finished):
    text = (finished / "README.md").read_text()
    assert "the cells that `nuclei` finds, from random weights" in text and "learning rate" not in text


def test_a_segmentation_with_other_weights_is_noticed(finished, caplog):
    kept = json.loads((finished / "model.json").read_text())["cells"]["seg_digest"]
    assert FieldBags("nuclei", lambda seg: None, (), trained_with=kept).digest == kept
    assert load_run(finished).bags.trained_with == kept and not caplog.messages
    assert FieldBags("nuclei", lambda seg: None, (), trained_with="0").digest == kept
    assert "nuclei has other weights than those that the classifier was trained with" in caplog.messages


def test_evaluate_and_predict_give_what_training_gave(finished, many_folder):
    again, before = evaluate_run([finished]), json.loads((finished / "metrics.json").read_text())
    assert again["test"] == before["test"]
    model = load_run(finished)
    image = Cohort.load(many_folder).table.image[0]
    p = model.probability(image)
    assert list(p) == before["classes"] and all(0 <= v <= 1 for v in p.values())
    both = ClassifierEnsemble.load([finished, finished])
    assert both.probability(image) == pytest.approx(p) and both.labels(image) == model.labels(image)


def test_fields_in_ome_zarr_are_measured_as_their_tiffs_are(finished, many_folder, tmp_path):
    table = Cohort.load(many_folder).table
    (tmp_path / "images").mkdir()
    for image, name in zip(table.image[:2], table.field, strict=False):
        with open_field(image) as field:
            planes = np.stack([field.read(i) for i in range(len(field.channels))])
            facts = {"pixel_size_um": field.pixel_size_um, "origin_um": field.origin_um}
            write_ome_zarr(tmp_path / "images" / f"{name}.ome.zarr", planes, field.channels, **facts)
    lines = [f"{name}.ome.zarr,b\n" for name in table.field[:2]]
    (tmp_path / "labels.csv").write_text("image,labels\n" + "".join(lines))
    stores, model = Cohort.load(tmp_path), load_run(finished)
    assert list(stores.table.field) == list(table.field[:2])
    for store, image in zip(stores.table.image, table.image, strict=False):
        assert model.probability(store) == pytest.approx(model.probability(image), abs=1e-5)
    before = data_fingerprint(stores)
    (Path(stores.table.image[0]) / ".zattrs").write_bytes(b"x")
    assert data_fingerprint(stores) != before


def test_what_needs_a_network_on_pictures_is_refused(finished, many_folder, tmp_path):
    image = Cohort.load(many_folder).table.image[0]
    with pytest.raises(UserError, match="by their cells"):
        draw_explanation(finished, image, "b", tmp_path / "e.png")
    with pytest.raises(UserError, match="by their cells"):
        export_run(finished, "onnx", out=tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"input": "cells", "channel": "DAPI"}, "all channels are measured"),
        ({"seg_channel": "blue"}, "`seg_channel` is for cells"),
        ({"input": "cells", "trees": 5}, "`trees` is for cells"),
        ({"input": "cells", "intensities": "x"}, "intensities='x'"),
    ],
)
def test_options_that_do_not_fit_are_refused(wrong, says):
    with pytest.raises(UserError, match=says):
        ClfConfig.resolve(wrong)
    assert ClfConfig.without_use({"input": "cells", "epochs": 3}) == "epochs"
