"""Input pictures of classification models: thumbnail, autofluorescence, composite, markers."""

import numpy as np
import pytest
from PIL import Image

from dedl_fastai.data import PercentileScaling, read_input
from dedl_fastai.data.classification.inputs import n_planes, resized, resolve_channels
from dedl_fastai.data.colors import planes_to_rgb
from dedl_fastai.data.pixels import read_scaled
from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, write_component_tiff

WHOLE = PercentileScaling(0, 100)


@pytest.fixture
def image(tiny_cohort):
    return tiny_cohort.table.image[0]


@pytest.fixture
def two_channels(tmp_path):
    """A component TIFF with a blue left half and an orange lower half, and a red thumbnail."""
    left, lower = (np.zeros((40, 60), np.float32) for _ in range(2))
    left[:, :30], lower[20:] = 7, 3
    red = np.zeros((10, 15, 3), np.uint8)
    red[..., 0] = 255
    path = tmp_path / "two_component_data.tif"
    planes, colors = {"DAPI": left, "Auto Fluo": lower}, [(0, 0, 255), (255, 51, 0)]
    write_component_tiff(path, planes, colors=colors, thumbnail=red, pixel_size_um=0.5)
    return path


def picture(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def test_thumbnail_is_the_files_own_page(image, two_channels):
    result = read_input(image, "thumbnail")
    assert result.dtype == np.float32 and result.shape == (3, 24, 32)
    np.testing.assert_array_equal((result * 255).round().transpose(1, 2, 0), open_field(image).thumbnail())
    assert read_input(two_channels).mean(axis=(1, 2)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("kind", ["thumbnail", "composite"])
def test_a_coloured_picture_is_its_own_thumbnail_and_composite(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    result = read_input(picture(tmp_path / "a.png", pixels), kind)
    np.testing.assert_allclose(result, pixels.transpose(2, 0, 1) / 255, atol=1e-6)


def test_a_grey_picture_becomes_three_equal_planes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    pixels[0, :2] = 0, 255
    for kind in ("thumbnail", "composite"):
        result = read_input(picture(tmp_path / "a.png", pixels), kind, scaling=WHOLE)
        np.testing.assert_allclose(result, np.stack([pixels] * 3) / 255, atol=1e-6)


def test_composite_adds_the_channels_in_the_files_colours(two_channels):
    result = read_input(two_channels, "composite", scaling=WHOLE)
    assert result.shape == (3, 40, 60) and result.max() == 1
    corners = {(0, 0): [0, 0, 1], (39, 0): [1, 0.2, 1], (39, 59): [1, 0.2, 0], (0, 59): [0, 0, 0]}
    for (y, x), color in corners.items():
        np.testing.assert_allclose(result[:, y, x], color, atol=1e-6)
    alone = read_input(two_channels, "composite", ["DAPI"], WHOLE)
    assert alone[:, 39, 0].tolist() == [0, 0, 1]


def test_thumbnail_of_a_file_without_one_is_its_composite_at_a_quarter_of_the_size(tmp_path):
    import tifffile

    planes = np.zeros((2, 40, 60), np.float32)
    planes[0, :, :30] = planes[1, 20:] = 1
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack")
    result = read_input(tmp_path / "a.tif", scaling=WHOLE)
    assert result.shape == (3, 10, 15) and result[:, 0, 0] == pytest.approx(
        [0, 0, 1]
    )  # the first channel is blue, the second green
    assert result[:, 9, 14] == pytest.approx([0, 1, 0])


def test_autofluorescence_is_found_by_its_name(image, two_channels):
    assert resolve_channels(image, "autofluorescence") == ("Autofluorescence",)
    result = read_input(two_channels, "autofluorescence", scaling=WHOLE)
    assert result.shape == (1, 40, 60) and result[0, 39, 0] == 1 and result[0, 0, 0] == 0
    assert resolve_channels(image, "autofluorescence", ["cd4"]) == ("CD4 (Opal 650)",)


def test_markers_are_scaled_planes_in_the_given_order(image):
    scaling = PercentileScaling()
    names = open_field(image).channels
    assert resolve_channels(image, "markers") == tuple(names) and n_planes("markers", names) == 8
    np.testing.assert_array_equal(read_input(image, "markers"), read_scaled(image, names, scaling))
    chosen = resolve_channels(image, "markers", ["cd4", "DAPI"])
    assert chosen == ("CD4 (Opal 650)", "DAPI")
    result = read_input(image, "markers", chosen)
    np.testing.assert_array_equal(result[1], read_scaled(image, ["DAPI"], scaling)[0])


@pytest.mark.parametrize(
    ("kind", "channels", "message"),
    [
        ("thumbs", (), "input='thumbs' is unknown; it may be thumbnail, autofluorescence"),
        ("markers", ("CD99",), "has no channel 'CD99'"),
        ("markers", ("CD4", "cd4 (opal"), "are the same channel"),
        ("autofluorescence", ("CD4", "CD19"), "reads one channel"),
    ],
)
def test_wrong_inputs_are_errors(image, kind, channels, message):
    with pytest.raises(UserError, match=message):
        resolve_channels(image, kind, channels)


def test_no_autofluorescence_is_an_error_that_names_the_channels(tmp_path):
    path = picture(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="red, green, blue; give it as `channel`"):
        read_input(path, "autofluorescence")


def test_resizing_averages_and_keeps_constants():
    stripes = np.tile(np.float32([0, 1]), (1, 64, 32))
    small = resized(stripes, 16)
    assert small.shape == (1, 16, 16) and np.abs(small[..., 1:-1] - 0.5).max() < 0.05
    np.testing.assert_allclose(resized(np.full((3, 30, 50), 0.25, np.float32), (12, 90)), 0.25, atol=1e-6)
    assert resized(stripes, 64) is stripes


def test_planes_in_rgb_are_clipped_and_have_default_colours():
    white = planes_to_rgb(np.ones((8, 2, 2), np.float32))
    assert white.shape == (3, 2, 2) and (white == 1).all()
    assert planes_to_rgb(np.full((1, 1, 1), 0.5, np.float32), [(255, 0, 102)])[:, 0, 0] == pytest.approx([0.5, 0, 0.2])
