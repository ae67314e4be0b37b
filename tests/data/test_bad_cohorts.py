"""Faulty cohorts: errors before training starts that name the file, the problem and the remedy."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dedl_fastai.data import Cohort, PercentileScaling, seg_dataloaders
from dedl_fastai.data.cache import cache_cohort
from dedl_fastai.errors import UserError


def cached(cohort, tmp_path, channels=("DAPI",)):
    """Decode the whole cohort."""
    return cache_cohort(cohort, channels, PercentileScaling(), tmp_path / "cache")


def test_empty_folder_is_an_error_that_lists_the_layouts(tmp_path):
    with pytest.raises(UserError, match=r"is not a cohort: it has none of a cohort\.csv.*it is empty"):
        Cohort.load(tmp_path)


def test_folder_of_other_files_is_an_error_that_names_them(touch):
    with pytest.raises(UserError, match=r"is not a cohort.*it contains notes\.txt, photo\.png"):
        Cohort.load(touch("notes.txt", "photo.png"))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv"])
def test_path_that_does_not_exist_is_an_error(tmp_path, name):
    with pytest.raises(UserError, match=rf"{name} does not exist"):
        Cohort.load(tmp_path / name)


def test_images_folder_without_images_is_an_error(touch):
    with pytest.raises(UserError, match="contains no fields"):
        Cohort.load(touch("images/readme.txt"))


def test_two_images_for_one_field_are_an_error_that_names_both(touch):
    with pytest.raises(UserError, match=r"field 'a': .*a\.(png and .*a\.tif|tif and .*a\.png)\. Keep one"):
        Cohort.load(touch("images/a.png", "images/a.tif", "images/b.png", "masks/a.png"))


def test_two_masks_for_one_field_are_an_error_that_names_both(touch):
    with pytest.raises(UserError, match=r"Two masks claim the field 'a': .*a\.png and .*a_mask\.png"):
        Cohort.load(touch("images/a.png", "masks/a.png", "masks/a_mask.png"))


def test_inform_fields_of_one_name_in_two_folders_are_an_error(touch):
    with pytest.raises(UserError, match=r"claim the field 'S_\[1,2\]': .*one.* and .*two"):
        Cohort.load(touch("one/S_[1,2]_component_data.tif", "two/S_[1,2]_component_data.tif"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"cohort\.csv is empty"),
        ("\n\n", "cannot be read as a CSV"),
        ("file;mask\na.png;b.png\n", "has no column 'image'"),
        ('image\n"a.png', "cannot be read as a CSV"),
        ("image,mask\n", "contains no fields"),
        (
            "image,split\na.png,holdout\n",
            "the split column contains 'holdout'; it may contain train, valid, test, ignore",
        ),
    ],
)
def test_faulty_manifest_is_an_error(touch, text, message):
    root = touch("a.png")
    (root / "cohort.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        Cohort.load(root)


@pytest.mark.parametrize(
    ("text", "message"), [("\n", "cannot be read as a CSV"), ("image,class\na,b\n", "needs the columns")]
)
def test_faulty_labels_csv_is_an_error(touch, text, message):
    root = touch("images/a.png")
    (root / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"labels\.csv {message}"):
        Cohort.load(root)


def test_mask_of_another_size_is_an_error_that_names_both_files_and_sizes(two_fields, tmp_path):
    Image.fromarray(np.zeros((32, 48), np.uint8)).save(two_fields.table["mask"][0])
    with pytest.raises(UserError, match=r"masks.a\.png is 32 x 48 pixels and its image .*images.a\.png 64 x 64"):
        cached(two_fields, tmp_path)


def test_mask_of_another_size_is_also_found_if_the_mask_is_cached(two_fields, tmp_path):
    cached(two_fields, tmp_path)
    Image.fromarray(np.zeros((32, 48), np.uint8)).save(two_fields.table.image[0])
    with pytest.raises(UserError, match=r"64 x 64 pixels and its image .* 32 x 48"):
        cached(two_fields, tmp_path)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_holes_in_the_pixels_are_an_error_that_counts_them(tmp_path, hole):
    pixels = np.random.default_rng(0).random((64, 64), np.float32)
    pixels[3, 4:7] = hole
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images/a.tif", pixels)
    with pytest.raises(UserError, match=r"a\.tif: channel \w+.* has 3 NaN or infinite pixels.*'ignore'"):
        cached(Cohort.load(tmp_path), tmp_path, ["0"])


def test_truncated_image_is_an_error_that_names_it(tiny_cohort, tmp_path):
    raw = Path(tiny_cohort.table.image[0]).read_bytes()
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "cut.tif").write_bytes(raw[: len(raw) // 3])
    with pytest.raises(UserError, match=r"cut\.tif"):
        cached(Cohort.load(tmp_path), tmp_path)


def test_truncated_picture_is_an_error_that_names_it(two_fields, tmp_path):
    rng = np.random.default_rng(0)
    image = Path(two_fields.table.image[1])
    Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).save(image)
    image.write_bytes(image.read_bytes()[:1500])
    with pytest.raises(UserError, match=r"b\.png"):
        cached(two_fields, tmp_path)


def test_empty_file_and_file_that_is_not_an_image_are_in_one_error(two_fields, tmp_path):
    for name, content in zip(two_fields.table.image, (b"", b"not an image"), strict=True):
        Path(name).write_bytes(content)
    with pytest.raises(UserError) as error:
        cached(two_fields, tmp_path)
    assert "a.png is empty" in str(error.value) and "b.png is not an image" in str(error.value)


def test_error_names_five_bad_files_and_counts_the_others(touch, tmp_path):
    cohort = Cohort.load(touch(*(f"images/{c}.png" for c in "abcdefgh")))
    with pytest.raises(UserError, match=r"and 3 more; `dedl-fastai data check`") as error:
        cached(cohort, tmp_path)
    assert str(error.value).count("is not an image") == 5


def test_grey_picture_given_as_a_mask_is_an_error(two_fields, tmp_path):
    grey = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    Image.fromarray((grey / 16 // 5 * 5).astype(np.uint8)).save(two_fields.table["mask"][0])
    with pytest.raises(UserError, match=r"masks.a\.png is not a mask"):
        cached(two_fields, tmp_path)


def test_missing_channel_is_an_error_with_the_channels_of_the_file(tiny_cohort, tmp_path):
    with pytest.raises(UserError, match=r"no channel 'DAPPI'.*Did you mean 'DAPI'"):
        cached(tiny_cohort, tmp_path, ["DAPPI"])


def test_constant_channel_is_logged_and_becomes_zeros(two_fields, tmp_path, caplog):
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(two_fields.table.image[0])
    assert not cached(two_fields, tmp_path)[0].open_pixels().any()
    assert "is constant (7 everywhere)" in caplog.text


@pytest.mark.parametrize("split", ["train", "valid"])
def test_dataloaders_of_a_cohort_without_a_split_are_an_error(two_fields, split):
    cohort = two_fields.where(two_fields.table.split != split)
    with pytest.raises(UserError, match=f"no {split} fields with masks: split the cohort"):
        seg_dataloaders(cohort, tile=64)


def test_dataloaders_of_a_cohort_without_masks_are_an_error(two_fields):
    two_fields.table["mask"] = ""
    with pytest.raises(UserError, match="2 images and no masks"):
        seg_dataloaders(two_fields, tile=64)


def test_training_without_any_nucleus_is_an_error_if_blank_tiles_are_left_out(two_fields):
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(two_fields.table["mask"][0])
    with pytest.raises(UserError, match="no training tile contains a nucleus"):
        seg_dataloaders(two_fields, tile=64, skip_blank=True)


def test_file_deleted_after_loading_is_an_error(two_fields, tmp_path):
    Path(two_fields.table.image[0]).unlink()
    with pytest.raises(UserError, match=r"a\.png does not exist"):
        cached(two_fields, tmp_path)
