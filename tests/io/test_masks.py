"""`read_mask` and `read_labels`: the kinds of masks that are accepted, and values that are refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from dedl_fastai.errors import UserError
from dedl_fastai.io import holds_ids, read_labels, read_mask, write_label_tiff, write_ome_tiff
from dedl_fastai.io.corrections import Action
from dedl_fastai.io.masks import IGNORED, mask_shape


@pytest.fixture
def nuclei(rng):
    """Ids 0..40 in blocks of 8 x 8 on 48 x 64 (H is not W)."""
    ids = np.arange(48).reshape(6, 8)
    return np.kron(np.where(ids > 40, 0, ids), np.ones((8, 8), int)).astype(np.uint16)


@pytest.mark.parametrize("foreground", [1, 255])
@pytest.mark.parametrize("ending", ["tif", "png"])
def test_binary_masks_of_0_1_and_0_255(tmp_path, nuclei, foreground, ending):
    mask, path = (nuclei > 0).astype(np.uint8), tmp_path / f"m.{ending}"
    Image.fromarray(mask * foreground).save(path)
    found = read_mask(path)
    np.testing.assert_array_equal(found, mask)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(read_labels(path), mask.astype(int) * foreground)


def test_one_bit_png(tmp_path, nuclei):
    Image.fromarray(nuclei > 0).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), nuclei > 0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint32", "float32"])
def test_labels_of_every_number_type(tmp_path, nuclei, dtype):
    tifffile.imwrite(tmp_path / "m.tif", nuclei.astype(dtype))
    labels = read_labels(tmp_path / "m.tif")
    np.testing.assert_array_equal(labels, nuclei)
    assert np.issubdtype(labels.dtype, np.integer)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), nuclei > 0)


def test_16_bit_label_png_keeps_ids_above_255(tmp_path):
    labels = np.kron(np.arange(600).reshape(20, 30), np.ones((5, 5), int)).astype(np.uint16)
    Image.fromarray(labels).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "m.png"), labels)


def test_labels_with_gaps_from_removed_nuclei_are_accepted(tmp_path, nuclei):
    nuclei[np.isin(nuclei, (3, 9, 17, 40))] = 0
    write_label_tiff(tmp_path / "m.tif", nuclei)
    np.testing.assert_array_equal(read_labels(tmp_path / "m.tif"), nuclei)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_written_labels_read_back(tmp_path, nuclei, dtype):
    write_label_tiff(tmp_path / "m.tif", nuclei.astype(dtype), pixel_size_um=0.5)
    np.testing.assert_array_equal(read_labels(tmp_path / "m.tif"), nuclei)


@pytest.mark.parametrize("ending", ["tif", "png"])
def test_rgb_picture_of_equal_planes_is_a_grey_mask(tmp_path, nuclei, ending):
    mask = (nuclei > 0).astype(np.uint8) * 255
    Image.fromarray(np.stack([mask] * 3, axis=-1)).save(tmp_path / f"m.{ending}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"m.{ending}"), nuclei > 0)


def test_empty_mask_has_no_nucleus(tmp_path):
    write_label_tiff(tmp_path / "m.tif", np.zeros((20, 30), np.uint8))
    assert read_mask(tmp_path / "m.tif").sum() == 0


@pytest.mark.parametrize("name", ["P1_[16142,55840]_mask.tif", "a b_[1,2] (3)*.tif", "Мышца_Ø_[1,2]_Mask.tif"])
def test_file_names_with_brackets_spaces_and_non_ascii_letters(tmp_path, nuclei, name):
    write_label_tiff(tmp_path / name, nuclei)
    np.testing.assert_array_equal(read_labels(tmp_path / name), nuclei)


def test_mask_shape_is_read_from_the_header(tmp_path, nuclei, decoded):
    write_label_tiff(tmp_path / "m.tif", nuclei)
    assert mask_shape(tmp_path / "m.tif") == (48, 64)
    assert decoded == []


def _probabilities(rng):
    return rng.random((48, 64), np.float32)


def _grey_image(rng):
    return np.clip(rng.normal(20_000, 6_000, (48, 64)), 0, 65535).astype(np.uint16)


def _eight_bit_image(rng):
    return np.clip(rng.normal(90, 40, (48, 64)), 0, 255).astype(np.uint8)


def _negative(rng):
    return np.where(rng.random((48, 64)) > 0.5, -1, 2).astype(np.int16)


def _not_a_number(rng):
    return np.where(rng.random((48, 64)) > 0.5, np.nan, 1).astype(np.float32)


def _infinite(rng):
    return np.where(rng.random((48, 64)) > 0.5, np.inf, 1).astype(np.float32)


def _colours(rng):
    return rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)


def _few_odd_values(rng):
    return np.kron(rng.choice([0, 85, 170, 255], (6, 8)), np.ones((8, 8), int)).astype(np.uint8)


BAD = [_probabilities, _grey_image, _eight_bit_image, _negative, _not_a_number, _infinite, _colours, _few_odd_values]


@pytest.mark.parametrize("make", BAD, ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize("read", [read_mask, read_labels])
def test_values_that_are_not_a_mask_are_refused_with_the_file_name(tmp_path, rng, make, read):
    path = tmp_path / "P1_[1,2]_mask.tif"
    pixels = make(rng)
    tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
    with pytest.raises(UserError) as error:
        read(path)
    assert path.name in str(error.value)


def test_a_refused_value_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, 0.25], [1, 1]], np.float32))
    with pytest.raises(UserError, match=r"0\.25.*expected 0 and 1"):
        read_mask(tmp_path / "m.tif")


def test_jpeg_mask_with_blurred_edges_is_refused(tmp_path, nuclei):
    mask = ((nuclei % 3 > 0) * 255).astype(np.uint8)
    Image.fromarray(np.roll(mask, 3, axis=(0, 1))).save(tmp_path / "m.jpg", quality=60)
    with pytest.raises(UserError, match=r"m\.jpg is not a mask.*PNG or TIFF"):
        read_mask(tmp_path / "m.jpg")


def test_a_component_file_is_refused_as_a_mask(component):
    with pytest.raises(UserError, match="planes that differ") as error:
        read_mask(component)
    assert component.name in str(error.value)


def test_unknown_pixels_of_a_mask_file_are_ignored(tmp_path, nuclei):
    labels = nuclei.astype(np.int16)
    labels[:, :20] = IGNORED
    tifffile.imwrite(tmp_path / "m.tif", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "m.tif"), labels)
    mask = read_mask(tmp_path / "m.tif")
    np.testing.assert_array_equal(mask, np.where(labels == IGNORED, IGNORED, labels > 0))
    assert holds_ids(tmp_path / "m.tif", read_labels(tmp_path / "m.tif"))


def test_corrected_labels_are_the_truth_where_they_are_checked(tmp_path, nuclei):
    folder = tmp_path / "corrections"
    folder.mkdir()
    path = folder / "a.ome.tif"
    labels = nuclei.astype(np.uint32)
    labels[labels == 2] = 5000  # ids of deleted nuclei are missing
    write_ome_tiff(path, labels, ["nucleus id"])
    check = Action("check", points=((0, 0), (20, 0), (20, 100), (0, 100)), revision=1)
    (folder / "a.jsonl").write_text(f"{check.line}\n")
    found = read_labels(path)
    assert (found[:, 40:] == IGNORED).all() and not (found[:, :20] == IGNORED).all()
    np.testing.assert_array_equal(found[found != IGNORED], labels[found != IGNORED])
    assert holds_ids(path, found)
    (folder / "a.jsonl").write_text(f"{Action('check', revision=1).line}\n")
    np.testing.assert_array_equal(read_labels(path), labels)
