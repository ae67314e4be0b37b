"""Inputs and options that no reader can take: one sentence that names them, exit code 2, and little memory."""

import json
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from dedl_fastai.cells.options import NucleiOptions
from dedl_fastai.errors import UserError
from dedl_fastai.inference import load_run
from dedl_fastai.io import open_field, read_cell_table, read_mask, read_segmentation_maps
from dedl_fastai.io.files import existing_dir, existing_file, read_json, read_json_object
from dedl_fastai.models.names import NUCLEI_RUN
from dedl_fastai.models.weights import read_tensors, write_tensors
from dedl_fastai.predict.inputs import field_images
from dedl_fastai.predict.options import CellOptions
from dedl_fastai.predict.record import read_records
from dedl_fastai.runs.options.clf import ClfConfig
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.training.keeper import Keeper

from ..cli.results import dedl

NAN, INF = float("nan"), float("inf")


def refused(match, read, *args):
    with pytest.raises(UserError, match=match) as error:
        read(*args)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("read", [open_field, read_mask, read_segmentation_maps, existing_file, read_json])
def test_a_file_without_permission_is_refused(tmp_path, monkeypatch, read):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0")

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    refused("cannot be read: Permission denied", read, path)


def test_a_png_without_pixels_is_refused(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path)
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(b"IDAT") - 4] + raw[raw.index(b"IEND") - 4 :])
    refused("a.png is damaged", read_mask, path)


def test_a_block_that_does_not_fit_in_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((32, 32), np.uint8), compression="zlib")

    def too_large(*args, **kwargs):
        raise MemoryError

    with open_field(path) as field:
        monkeypatch.setattr(tifffile.TiffPage, "decode", too_large)
        refused("a.tif: .* needs more memory than there is", field.read, 0)


def test_percentages_with_other_spaces_are_numbers(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Cell ID\tConfidence\n1\t97.5\u00a0%\n2\t50 %\n", encoding="utf-8")
    assert read_cell_table(path)["Confidence"].tolist() == [0.975, 0.5]


@pytest.mark.parametrize("check", [existing_file, existing_dir])
@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_impossible_paths_are_refused_in_a_short_line(tmp_path, check, name):
    refused("cannot be read|does not exist", check, tmp_path / name)
    with pytest.raises(UserError) as error:
        check(tmp_path / name)
    assert len(str(error.value)) < 1300 and str(error.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tif")
    refused("is a pipe", open_field, tmp_path / "a.tif")


def test_an_error_of_the_system_is_one_sentence_on_the_command_line(tmp_path):
    result = dedl("predict", "nuclei", tmp_path / ("x" * 5000), "--out", tmp_path / "out")
    assert result.exit_code == 2 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_a_message_is_one_line_and_what_it_quotes_is_cut():
    error = UserError("a\tb\r\nc \x1b[31m" + "y" * 9000 + ": do this.")
    assert len(error.message) < 1300 and error.message.isprintable() and error.message.endswith(": do this.")
    assert UserError("one", "two").message == "one\ntwo"


def test_an_image_whose_name_is_not_utf_8_is_left_out(tmp_path):
    bad, good = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.tif"), tmp_path / "a.tif"
    for path in (bad, good):
        tifffile.imwrite(path, np.ones((8, 8), np.uint8))
    images, lost = field_images([bad, good])
    assert list(images) == ["a"] and len(lost) == 1
    assert "not UTF-8" in lost[0] and lost[0].isprintable()


@pytest.mark.parametrize(
    ("options", "values"),
    [
        (SegConfig, {"seed": 2**70}),
        (SegConfig, {"seed": -1}),
        (ClfConfig, {"seeds": f"1,{2**70}"}),
        (SegConfig, {"wd": NAN}),
        (SegConfig, {"lr": INF}),
        (SegConfig, {"lr_min": INF}),
        (ClfConfig, {"gamma": NAN}),
        (CellOptions, {"pixel_size_um": NAN}),
        (CellOptions, {"pixel_size_um": 1e9}),
        (CellOptions, {"pixel_size_um": -1.0}),
        (CellOptions, {"min_area_um2": NAN}),
        (CellOptions, {"ring_um": INF}),
        (CellOptions, {"radius_um": NAN}),
        (NucleiOptions, {"min_area_um2": NAN}),
        (NucleiOptions, {"threshold": NAN}),
    ],
)
def test_options_that_are_not_numbers_or_absurd_are_refused(options, values):
    name = next(iter(values)).removesuffix("s")
    refused(name, lambda: options(**values))


@pytest.mark.parametrize("size", ["nan", "1e-30", "-1", "1e12"])
def test_an_absurd_pixel_size_in_a_file_is_warned_of_and_unknown(tmp_path, caplog, size):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.uint8), metadata={"axes": "YX", "PhysicalSizeX": 0.4321})
    path.write_bytes(path.read_bytes().replace(b'"0.4321"', f'"{size}"'.encode().ljust(8)))
    with open_field(path) as field:
        assert field.pixel_size_um is None
    assert "a.ome.tif: a pixel size of" in caplog.text


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"', "[" * 100_000])
def test_json_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    refused(r"a\.json", read_json_object, tmp_path / "a.json")


def test_a_record_of_another_shape_is_refused(tmp_path):
    (tmp_path / "fields").mkdir()
    (tmp_path / "fields" / "a.json").write_text('{"field": "a", "image": 3}')
    refused(r"a\.json has no 'cells'", read_records, tmp_path)


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(NUCLEI_RUN, tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tile", 65536),
        ("tile", "a"),
        ("threshold", NAN),
        ("threshold", 7),
        ("channels", 3),
        ("network", []),
        ("network", {"arch": 3}),
        ("scaling", "x"),
    ],
)
def test_a_model_json_with_values_that_cannot_be_is_refused(run, name, value):
    card = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**card, name: value}))
    refused(r"model\.json|run", load_run, run)


@pytest.mark.parametrize("text", ["[]", "{}", "3"])
def test_a_model_json_of_another_shape_is_refused(run, text):
    (run / "model.json").write_text(text)
    refused("run", load_run, run)


def test_weights_that_are_nan_are_refused(run):
    file = run / "best.safetensors"
    tensors = read_tensors(file)
    name = next(n for n, t in tensors.items() if t.is_floating_point())
    tensors[name] = torch.full_like(tensors[name], NAN)
    write_tensors(file, tensors)
    refused("NaN or infinite weights", load_run, run)


@pytest.mark.parametrize("content", [b"junk", b"", b"PK\x03\x04" + b"x" * 50, "list"])
def test_a_damaged_state_for_resuming_is_refused(tmp_path, content):
    path = tmp_path / "resume.pt"
    torch.save([1, 2], path) if content == "list" else path.write_bytes(content)
    refused(r"resume\.pt", Keeper(tmp_path).load)


def test_a_picture_over_the_budget_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((1200, 1200), np.uint8)).save(path)
    monkeypatch.setenv("DEDL_MAX_PIXELS", str(10**6))
    tracemalloc.start()
    refused("1200 x 1200 pixels would be decoded.*DEDL_MAX_PIXELS to 1440000", read_mask, path)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    monkeypatch.setenv("DEDL_MAX_PIXELS", "1440000")
    assert not read_mask(path).any()
    monkeypatch.setenv("DEDL_MAX_PIXELS", "many")
    refused("'many' is not a number", read_mask, path)


def test_parts_of_a_slide_over_the_budget_are_read(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((256, 256), np.uint8), tile=(64, 64))
    monkeypatch.setenv("DEDL_MAX_PIXELS", "4096")
    with open_field(path) as field:
        assert field.read(0, 64, 128, 64, 128).all()
        refused("256 x 256 pixels would be decoded", field.read, 0)


def write_ome(path, size_c, name):
    """An OME-TIFF of one page that claims `size_c` channels, the last of them in the file `name`."""
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="8" SizeY="8" '
        f'SizeC="{size_c}" SizeZ="1" SizeT="1"><TiffData FirstC="{size_c - 1}" IFD="0"><UUID FileName="{name}">'
        f"urn:uuid:{1 if name == path.name else 2}</UUID></TiffData></Pixels></Image></OME>"
    )
    tifffile.imwrite(path, np.ones((8, 8), np.uint8), description=xml, metadata=None)


def test_metadata_that_claim_millions_of_planes_are_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    write_ome(path, 400_000_000, path.name)
    tracemalloc.start()
    refused("claims 400000000 planes", open_field, path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_an_ome_tiff_that_names_another_file_does_not_open_it(tmp_path):
    path, pipe = tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"
    write_ome(path, 2, pipe.name)
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)  # opening it would wait for ever
    refused("one of a set of OME-TIFF files", open_field, path)
