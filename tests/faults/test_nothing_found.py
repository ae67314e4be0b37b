"""Fields in which no cell is found, and metadata that are not plausible: there is a warning, not just a table."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field
from dedl_fastai.io.fields.zarr_field import ZarrField
from dedl_fastai.models.names import NUCLEI_RUN
from dedl_fastai.phenotypes.classify import parse_thresholds
from dedl_fastai.phenotypes.gates.gate import Gate
from dedl_fastai.phenotypes.gates.gates import Gates
from dedl_fastai.predict import CellOptions, predict_cells
from dedl_fastai.runs.evaluation import evaluate_run

EMPTY = np.zeros((64, 64), np.uint8)
DISK = ((np.indices((64, 64)) - 32) ** 2).sum(0) < 150
NUCLEUS = (200 * DISK).astype(np.uint8)


@pytest.fixture
def fields(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, pixels in (("empty", EMPTY), ("nucleus", NUCLEUS)):
        tifffile.imwrite(folder / f"{name}.tif", pixels)
    return folder


def warnings_of(caplog):
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING" and "no cells" in r.getMessage()]


def test_a_field_without_cells_is_warned_of_and_a_call_without_any_too(fields, tmp_path, caplog):
    out, options = tmp_path / "out", CellOptions(write="cells")
    assert predict_cells([NUCLEI_RUN], [fields / "empty.tif"], out, options) == []
    one, every = warnings_of(caplog)
    assert one == f"{fields / 'empty.tif'}: no cells were found"
    assert "in any field (1)" in every and all(f in every for f in ("`channel`", "scale=auto", "threshold"))
    assert pd.read_csv(out / "summary.csv").cells.tolist() == [0]
    caplog.clear()
    left = out / ".empty.part"  # by a process that was killed while it removed this folder
    left.mkdir()
    (left / "cells.npz").write_bytes(b"")
    predict_cells([NUCLEI_RUN], [fields / "empty.tif"], out, options)  # nothing is left to do
    assert len(warnings_of(caplog)) == 1 and not left.exists()
    caplog.clear()
    predict_cells([NUCLEI_RUN], [fields], out, options)
    assert warnings_of(caplog) == []  # one has a nucleus, and the other has been warned of
    assert pd.read_csv(out / "summary.csv").cells.tolist() == [0, 1]


def test_evaluate_warns_of_fields_in_which_nothing_is_found(fields, caplog):
    masks = fields.parent / "masks"
    masks.mkdir()
    for name in ("empty", "nucleus"):
        tifffile.imwrite(masks / f"{name}.tif", DISK.astype(np.uint8))
    evaluate_run(NUCLEI_RUN, data=fields.parent, split="all")
    assert warnings_of(caplog) == [f"{fields / 'empty.tif'}: no cells were found"]


@pytest.mark.parametrize("text", ["CD4=nan", "CD4=inf", "CD4=1/nan"])
def test_thresholds_that_are_no_numbers_are_refused(text):
    with pytest.raises(UserError, match="cannot be read"):
        parse_thresholds(text)


@pytest.mark.parametrize("name", ["cut", "bright"])
def test_gates_that_are_no_numbers_are_refused(tmp_path, name):
    path = tmp_path / "gates.json"
    gate = Gate("CD4", ("CD4 mean",), "hand", cut=1.0, bright=2.0, n_cuts=2)
    Gates({"all": {"CD4": gate}}).save(path)
    assert Gates.load(path).of()["CD4"] == gate
    data = json.loads(path.read_text())
    data["groups"]["all"]["CD4"][name] = float("nan")
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"gates\.json.*cut-off of CD4"):
        Gates.load(path)


@pytest.mark.parametrize("size", [1e-9, 1e6, float("nan"), -1.0])
def test_an_absurd_pixel_size_of_any_format_is_unknown(tmp_path, size, caplog):
    class Plain(ZarrField):
        def __init__(self):
            super().__init__(tmp_path / "a", "zarr", ["a"], (4, 4), size, (size, 1.0), array=None, axes=[])

    assert Plain().pixel_size_um is None and "a pixel size of" in caplog.text
    assert (Plain().origin_um is None) == np.isnan(size)


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_names_of_channels_are_one_line(tmp_path, kind):
    path, names = tmp_path / "a.tif", ["DAPI\nnuclei", "CD4\t", "  CD8\r\n"]
    if kind == "imagej":
        names[1] = "CD4\x1b[31m"  # XML cannot have it
    metadata = {"axes": "CYX", "Labels": names} if kind == "imagej" else {"axes": "CYX", "Channel": {"Name": names}}
    tifffile.imwrite(path, np.ones((3, 8, 8), np.uint8), metadata=metadata, **{kind: True})
    with open_field(path) as field:
        assert all(name.isprintable() and name == name.strip() for name in field.channels)
        assert [field.channel_index(name) for name in ("dapi", "cd4", "cd8")] == [0, 1, 2]
