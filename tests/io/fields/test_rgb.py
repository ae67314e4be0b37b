"""The channel `blue-only` of coloured pictures: exact values, regions, names and refusals."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field
from dedl_fastai.io.fields.rgb import blue_only

COLORS = {  # what is left of blue
    (0, 0, 100): 100,  # DAPI
    (0, 200, 200): 0,  # another marker in cyan
    (150, 0, 150): 0,  # in magenta
    (255, 255, 255): 0,  # in white
    (0, 80, 180): 100,  # DAPI under cyan
    (90, 30, 10): 0,
}
PIXELS = np.array(list(COLORS), np.uint8).reshape(2, 3, 3)
LEFT = np.array(list(COLORS.values()), np.float32).reshape(2, 3)


def write_png(path, pixels):
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def write_tiff(path, pixels):
    tifffile.imwrite(path, pixels.astype(np.uint16) * 7, photometric="rgb")
    return path


@pytest.mark.parametrize("name, write, unit", [("c.png", write_png, 1), ("c.tif", write_tiff, 7)])
def test_it_is_what_blue_has_beyond_red_and_green(tmp_path, name, write, unit):
    with open_field(write(tmp_path / name, PIXELS)) as field:
        assert field.channels == ["red", "green", "blue"]
        found = field.read("Blue-Only")
        np.testing.assert_array_equal(found, LEFT * unit)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(field.read("blue-only", y0=1, y1=2, x0=0, x1=2), LEFT[1:2, :2] * unit)
        np.testing.assert_array_equal(field.read("blu"), PIXELS[..., 2] * np.float32(unit))  # names stay unambiguous
        index = field.channel_index("blue-only")
        assert field.channel_name(index) == "blue-only" and field.reduced(index, 2) is None


def test_unsigned_planes_do_not_wrap_around():
    planes = np.array([[[9]], [[200]], [[100]]], np.uint8)
    np.testing.assert_array_equal(blue_only(*planes), [[0]])


def test_only_coloured_pictures_have_it(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "g.png")
    with open_field(tmp_path / "g.png") as field, pytest.raises(UserError, match="has no channel 'blue-only'"):
        field.read("blue-only")


def test_a_picture_without_dapi_tells_of_it(tmp_path):
    with (
        open_field(write_png(tmp_path / "c.png", PIXELS)) as field,
        pytest.raises(UserError, match=r"has red, green, blue\. For DAPI of a composite, give the channel blue-only"),
    ):
        field.read("DAPI")
