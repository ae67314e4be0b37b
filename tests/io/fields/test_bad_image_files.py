"""Damaged and unsupported image files: always a `UserError` that names the file, never a crash or wrong pixels."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, read_labels, read_mask, read_segmentation_maps, write_label_tiff

READERS = [open_field, read_mask, read_labels, read_segmentation_maps]


def planes_of(path):
    with open_field(path) as field:
        return [field.read(i) for i in range(len(field.channels))]


def assert_refused(read, path, match=None):
    with pytest.raises(UserError, match=match) as error:
        read(path)
    assert path.name in str(error.value)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"I",
        b"II*\0",
        b"II*\0\x08\0\0\0",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"just some words",
        b"%PDF-1.4" * 50,
    ],
)
def test_files_that_are_not_images_are_refused(tmp_path, read, content):
    path = tmp_path / "a_[1,2].tif"
    path.write_bytes(content)
    assert_refused(read, path)


@pytest.mark.parametrize("read", READERS)
def test_a_missing_file_is_refused(tmp_path, read):
    assert_refused(read, tmp_path / "none.tif", "does not exist")


@pytest.mark.parametrize("read", READERS)
def test_a_folder_instead_of_a_file_is_refused(tmp_path, read):
    (tmp_path / "folder.tif").mkdir()
    assert_refused(read, tmp_path / "folder.tif", "is a folder")


def test_the_error_for_an_empty_file_says_to_copy_it_again(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"")
    assert_refused(open_field, tmp_path / "a.tif", "0 bytes.*again")


def _imagej(path, stack):
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "CYX"})


def _plain(path, stack):
    tifffile.imwrite(path, stack, photometric="minisblack")


def _ome(path, stack):
    tifffile.imwrite(path, stack, ome=True, tile=(16, 16), compression="deflate", metadata={"axes": "CYX"})


def _png(path, stack):
    Image.fromarray(np.moveaxis(stack, 0, -1)).save(path, format="png")


def _jpeg(path, stack):
    Image.fromarray(np.moveaxis(stack, 0, -1)).save(path, format="jpeg")


WRITERS = [_imagej, _plain, _ome, _png, _jpeg]


def assert_cut_is_refused_or_harmless(path, least_refused):
    """Cut the file at 120 places: each time it is refused with a `UserError`, or all pixels are correct."""
    whole, expected = path.read_bytes(), planes_of(path)
    refused = 0
    lengths = np.unique(np.linspace(1, len(whole) - 1, 120, dtype=int))
    for n in lengths:
        path.write_bytes(whole[:n])
        try:
            found = planes_of(path)
        except UserError as e:
            refused += 1
            assert path.name in str(e)
        else:
            np.testing.assert_array_equal(found, expected)
    assert refused >= least_refused * len(lengths)


@pytest.mark.parametrize("write", WRITERS, ids=lambda f: f.__name__.strip("_"))
def test_truncated_files_of_every_format_are_refused_or_harmless(tmp_path, rng, write):
    path = tmp_path / "cut.tif"
    write(path, rng.integers(0, 255, (3, 40, 50)).astype(np.uint8))
    assert_cut_is_refused_or_harmless(path, least_refused=0.8)


def test_missing_pixels_are_noticed_when_opening_not_when_reading(tmp_path):
    path = tmp_path / "a.tif"
    _plain(path, np.ones((40, 50), np.uint8))
    path.write_bytes(path.read_bytes()[:-1000])
    assert_refused(open_field, path, "cut short: it has .* bytes and needs")


def test_a_truncated_component_is_refused_or_harmless(component):
    assert_cut_is_refused_or_harmless(component, least_refused=0.9)


def test_a_truncated_mask_is_refused(tmp_path):
    path = tmp_path / "m.tif"
    write_label_tiff(path, np.eye(60, dtype=np.uint16))
    whole = path.read_bytes()
    for n in range(1, len(whole), 11):
        path.write_bytes(whole[:n])
        assert_refused(read_mask, path)


@pytest.mark.parametrize("write", WRITERS, ids=lambda f: f.__name__.strip("_"))
def test_a_wrong_byte_in_the_header_never_causes_a_crash(tmp_path, rng, write):
    path = tmp_path / "bad.tif"
    write(path, rng.integers(0, 255, (3, 40, 50)).astype(np.uint8))
    whole = path.read_bytes()
    read = refused = 0
    for at in range(0, 360, 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x02]) + whole[at + 1 :])
        try:
            planes_of(path)
            read += 1
        except UserError as e:
            assert path.name in str(e)
            refused += 1
    assert read + refused == 120
    assert refused > 0


def test_damaged_compressed_data_is_refused_when_read(component):
    raw = bytearray(component.read_bytes())
    with tifffile.TiffFile(component) as tif:
        offset, count = tif.pages[2].dataoffsets[1], tif.pages[2].databytecounts[1]
    raw[offset : offset + count] = bytes(count)
    component.write_bytes(bytes(raw))
    with open_field(component) as field:
        assert field.read("DAPI", 0, 16).shape == (16, 68)  # the other strips are intact
        with pytest.raises(UserError, match="damaged") as error:
            field.read("DAPI")
    assert component.name in str(error.value)


@pytest.mark.parametrize("kind", ["imagej", "ome"])
@pytest.mark.parametrize("axes, word", [("TYX", "time points"), ("ZYX", "z slices"), ("TCYX", "time points")])
def test_time_and_z_axes_are_refused(tmp_path, kind, axes, word):
    shape = (3, 2, 20, 30)[-len(axes) :] if len(axes) == 4 else (3, 20, 30)
    tifffile.imwrite(tmp_path / "t.tif", np.zeros(shape, np.uint8), metadata={"axes": axes}, **{kind: True})
    assert_refused(open_field, tmp_path / "t.tif", f"3 {word}")


def test_a_time_axis_of_one_point_is_read(tmp_path, rng):
    stack = rng.integers(0, 255, (1, 2, 20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "t.tif", stack, imagej=True, metadata={"axes": "TCYX"})
    np.testing.assert_array_equal(planes_of(tmp_path / "t.tif"), stack[0])


def test_complex_pixels_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "c.tif", np.ones((20, 30), np.complex64))
    assert_refused(planes_of, tmp_path / "c.tif", "integers or floats")


def test_one_file_of_a_split_ome_set_is_refused(tmp_path):
    first, second = tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"
    tifffile.imwrite(first, np.zeros((2, 20, 30), np.uint8), photometric="minisblack", metadata={"axes": "CYX"})
    with tifffile.TiffFile(first) as tif:
        xml, uuid = tif.ome_metadata, "urn:uuid:11111111-1111-1111-1111-111111111111"
    start, end = xml.index("<TiffData"), xml.index("</Pixels>")
    other = f'<UUID FileName="{second.name}">{uuid}</UUID>'
    data = f'<TiffData IFD="0" FirstC="0"/><TiffData IFD="0" FirstC="1" PlaneCount="1">{other}</TiffData>'
    pixels = np.zeros((20, 30), np.uint8)
    tifffile.imwrite(first, pixels, description=(xml[:start] + data + xml[end:]).encode(), metadata=None)
    other_xml = (xml[:start] + data + xml[end:]).replace("<OME ", f'<OME UUID="{uuid}" ', 1)
    tifffile.imwrite(second, pixels, description=other_xml.encode(), metadata=None)
    assert_refused(open_field, first)


def with_tags(path, **tags):
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for name, value in tags.items():
            tif.pages[0].tags[name].overwrite(value)
    return path


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
def test_a_header_that_claims_300_gb_is_refused_before_anything_is_allocated(tmp_path, compression):
    path = tmp_path / "huge.tif"
    tifffile.imwrite(path, np.ones((64, 64), np.uint16), compression=compression, rowsperstrip=64)
    edge = 400_000  # x 400 000 x 2 bytes = 320 GB
    with_tags(path, ImageWidth=edge, ImageLength=edge, RowsPerStrip=edge)
    tracemalloc.start()
    assert_refused(open_field, path, "320 GB|needs 320")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_missing_tiles_that_claim_300_gb_are_refused(tmp_path):
    path = tmp_path / "sparse.tif"
    tifffile.imwrite(path, np.ones((64, 64), np.float32), compression="deflate", tile=(64, 64))
    with_tags(path, ImageWidth=280_000, ImageLength=280_000, TileWidth=280_000, TileLength=280_000)
    assert_refused(open_field, path, "314 GB")


def test_a_large_empty_slide_is_accepted(tmp_path):
    path = tmp_path / "empty.tif"
    tifffile.imwrite(path, np.zeros((8192, 8192), np.uint16), tile=(1024, 1024), compression="deflate")
    with open_field(path) as field:
        assert field.shape == (8192, 8192)
        assert not field.read(0, y0=8000, y1=8192, x0=8000, x1=8192).any()
