"""JPEG pictures, and tiles of a TIFF, with a zeroed, overwritten or missing part: decoders fill it without a word."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field

SMOOTH = gaussian_filter(np.random.default_rng(0).normal(size=(128, 96)), 4) * 1500
TISSUE = np.clip(SMOOTH + 90, 0, 255).astype(np.uint8)
DARK = np.clip(SMOOTH - 20, 0, 255).astype(np.uint8)  # with large black areas
IMAGES = {
    "tissue": TISSUE,
    "dark": DARK,
    "black": np.zeros_like(DARK),
    "grey": np.full_like(DARK, 128),
    "colour": np.stack([TISSUE, DARK, TISSUE[::-1]], -1),
}
CODED = [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_blocks": 5}, {"subsampling": 0}]


def jpeg(pixels, quality=90, **how):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, **how)
    return file.getvalue()


def zeroed(raw, at, n):
    return raw[:at] + bytes(n) + raw[at + n :]


def middle(raw, share=0.6):
    """A place in the pixels of a file, after its header."""
    start = raw.rindex(b"\xff\xda") + 14
    return start + int((len(raw) - start) * share)


def refused(path, raw, match):
    path.write_bytes(raw)
    with pytest.raises(UserError, match=match) as error:
        planes(path)
    assert path.name in str(error.value) and "\n" not in str(error.value)


def planes(path):
    with open_field(path) as field:
        return [field.read(i) for i in range(len(field.channels))]


@pytest.mark.parametrize("name", IMAGES)
def test_a_whole_picture_is_read_however_it_is_coded(tmp_path, name):
    for how in CODED:
        for quality in (20, 75, 100):
            (tmp_path / "a.jpg").write_bytes(jpeg(IMAGES[name], quality, **how))
            assert planes(tmp_path / "a.jpg")[0].shape == TISSUE.shape


@pytest.mark.parametrize("how", CODED, ids=str)
@pytest.mark.parametrize("name", ["tissue", "dark", "colour"])
def test_a_zeroed_part_of_a_picture_is_refused(tmp_path, name, how):
    raw = jpeg(IMAGES[name], **how)
    for share in (0.1, 0.3, 0.6):
        refused(tmp_path / "a.jpg", zeroed(raw, middle(raw, share), 100), "a part of its pixels is zeroed")


def test_a_picture_whose_last_pixels_are_missing_is_refused(tmp_path):
    raw = jpeg(TISSUE)
    refused(tmp_path / "a.jpg", raw[: middle(raw)] + raw[-2:], "data end before its last pixel")


def test_a_picture_with_foreign_bytes_is_refused(tmp_path):
    raw, noise = jpeg(TISSUE), np.random.default_rng(1).integers(0, 255, 300).astype(np.uint8)
    at = middle(raw, 0.2)
    without_markers = bytes(noise[noise < 255])
    for foreign in (without_markers, b"\x5a\xff\x02" * 30):
        refused(tmp_path / "a.jpg", raw[:at] + foreign + raw[at + len(foreign) :], "damaged")


@pytest.mark.parametrize("remove", [slice(0, 1), slice(3, 6)])
def test_a_picture_that_lacks_restart_markers_is_refused(tmp_path, remove):
    raw = jpeg(TISSUE, restart_marker_blocks=5)
    places = [i for i in range(len(raw)) if raw[i] == 0xFF and 0xD0 <= raw[i + 1] <= 0xD7][remove]
    refused(tmp_path / "a.jpg", raw[: places[0]] + raw[places[-1] + 2 :], "restart markers")


def test_a_picture_whose_header_is_zeroed_is_refused(tmp_path):
    raw = jpeg(TISSUE)
    refused(tmp_path / "a.jpg", zeroed(raw, raw.rindex(b"\xff\xda") + 8, 12), "its header is damaged")
    for marker in (b"\xff\xdb", b"\xff\xc4"):
        refused(tmp_path / "a.jpg", zeroed(raw, raw.rindex(marker) + 45, 10), "damaged")


@pytest.mark.parametrize("how", [{"tile": (64, 64)}, {"rowsperstrip": 32}], ids=["tiles", "strips"])
@pytest.mark.parametrize("name", ["tissue", "colour"])
def test_a_zeroed_part_of_a_jpeg_tile_is_refused(tmp_path, name, how):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGES[name], compression="jpeg", **how)
    with tifffile.TiffFile(path) as tif:
        blocks = list(zip(tif.pages[0].dataoffsets, tif.pages[0].databytecounts, strict=True))
    planes(path)
    raw = path.read_bytes()
    at, n = blocks[2]
    part = raw[at : at + n]
    refused(path, raw[:at] + zeroed(part, middle(part, 0.3), 40) + raw[at + n :], "block 2 of page 0: a part of its")
    end = middle(part, 0.3)
    cut = part[:end] + b"\xff\xd9" + bytes(n - end - 2)
    refused(path, raw[:at] + cut + raw[at + n :], "block 2 of page 0: its data end before its last pixel")
    with open_field(path) as field:
        assert field.read(0, 0, 32, 0, 64).any()  # other blocks are read


def test_jpeg_tiles_with_shared_tables_are_checked(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(TISSUE).save(path, compression="jpeg")  # libtiff keeps the tables apart
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        assert page.jpegtables
        at, n = page.dataoffsets[0], page.databytecounts[0]
    planes(path)
    raw = path.read_bytes()
    refused(path, zeroed(raw, at + n // 2, 40), "a part of its pixels is zeroed")


def test_zeros_that_begin_with_the_header_are_refused(tmp_path):
    raw = jpeg(IMAGES["tissue"])
    start = raw.rindex(b"\xff\xda") + 2
    start += int.from_bytes(raw[start : start + 2], "big")
    assert raw[start - 1] == 0 and raw[start]
    refused(tmp_path / "a.jpg", zeroed(raw, start, 15), "a part of its pixels is zeroed")


def test_zeros_in_the_header_are_refused_or_change_nothing(tmp_path):
    raw, path = jpeg(IMAGES["colour"]), tmp_path / "a.jpg"
    path.write_bytes(raw)
    whole = planes(path)
    for at in range(raw.index(b"\xff\xc0"), raw.rindex(b"\xff\xda")):
        path.write_bytes(zeroed(raw, at, 16))
        try:
            found = planes(path)
        except UserError:
            continue
        assert np.array_equal(found, whole), at
