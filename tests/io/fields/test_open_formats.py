"""`open_field` round trips: ImageJ, OME-TIFF, plain and RGB TIFF, PNG, JPEG, in all layouts and number types."""

import pickle

import numpy as np
import pytest
import tifffile
from PIL import Image

from dedl_fastai.io import open_field, write_ome_tiff

TYPES = ("uint8", "uint16", "int16", "uint32", "float32", "float64")
COMPRESSIONS = (None, "lzw", "deflate", "zstd")
NAMES = ["DAPI", "CD8", "CK"]


@pytest.fixture
def stack(rng):
    """Three planes of 53 x 71 (not a multiple of any tile), 0 to 250."""
    return rng.integers(0, 251, (3, 53, 71))


def assert_same(path, stack, channels=None):
    with open_field(path) as field:
        assert field.shape == stack.shape[1:]
        assert len(field.channels) == len(stack)
        assert channels is None or field.channels == channels
        for i, plane in enumerate(stack):
            np.testing.assert_array_equal(field.read(i), plane.astype(np.float32))
        return field


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_imagej_hyperstack(tmp_path, stack, dtype, compression):
    path, data = tmp_path / "h.tif", stack.astype(dtype)
    meta = {"axes": "CYX", "unit": "um", "Labels": NAMES}
    tifffile.imwrite(path, data, imagej=True, compression=compression, resolution=(2, 2), metadata=meta)
    field = assert_same(path, data, NAMES)
    assert field.format == "imagej"
    assert field.pixel_size_um == pytest.approx(0.5)


def test_imagej_channels_without_labels_get_numbers(tmp_path, stack):
    path, data = tmp_path / "h.tif", stack[:2].astype("uint8")
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "CYX"})
    field = assert_same(path, data, ["channel_0", "channel_1"])
    assert field.pixel_size_um is None


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_ome_tiff_with_names_and_physical_size(tmp_path, stack, dtype, compression):
    path, data = tmp_path / "o.ome.tif", stack.astype(dtype)
    size = {"PhysicalSizeX": 325.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 325.0, "PhysicalSizeYUnit": "nm"}
    meta = {"axes": "CYX", "Channel": {"Name": NAMES}, **size}
    tifffile.imwrite(path, data, ome=True, compression=compression, photometric="minisblack", metadata=meta)
    field = assert_same(path, data, NAMES)
    assert field.format == "ome-tiff"
    assert field.pixel_size_um == pytest.approx(0.325)


@pytest.mark.parametrize(("unit", "origin"), [("reference frame", None), ("pixel", None), ("mm", (1000.0, 2000.0))])
def test_ome_position_is_the_origin_only_in_a_unit_of_length(tmp_path, stack, unit, origin):
    path = tmp_path / "o.ome.tif"
    plane = {"PositionX": [1.0], "PositionY": [2.0], "PositionXUnit": [unit], "PositionYUnit": [unit]}
    meta = {"axes": "YX", "Plane": plane}
    tifffile.imwrite(path, stack[0].astype("uint8"), ome=True, photometric="minisblack", metadata=meta)
    with open_field(path) as field:
        assert field.origin_um == origin


def test_ome_channels_of_equal_names_get_numbers(tmp_path, stack):
    path, data = tmp_path / "o.ome.tif", stack[:2].astype("uint8")
    meta = {"axes": "CYX", "Channel": {"Name": ["Cy3", "cy3"]}}
    tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata=meta)
    assert_same(path, data, ["channel_0", "channel_1"])


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tiled_pyramidal_ome_tiff_reads_the_full_resolution(tmp_path, rng, compression):
    path, data = tmp_path / "pyramid.ome.tif", rng.integers(0, 60000, (3, 150, 210)).astype("uint16")
    options = dict(tile=(32, 48), compression=compression, photometric="minisblack")
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as tif:
        tif.write(data, subifds=2, metadata={"axes": "CYX", "Channel": {"Name": NAMES}}, **options)
        tif.write(data[:, ::2, ::2], subfiletype=1, **options)
        tif.write(data[:, ::4, ::4], subfiletype=1, **options)
    field = assert_same(path, data, NAMES)
    np.testing.assert_array_equal(field.read("CK", y0=31, y1=150, x0=47, x1=97), data[2, 31:150, 47:97])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("metadata", [None, {"axes": "CYX"}])
def test_plain_multi_page_tiff(tmp_path, stack, dtype, compression, metadata):
    path, data = tmp_path / "p.tif", stack.astype(dtype)
    tifffile.imwrite(path, data, compression=compression, photometric="minisblack", metadata=metadata)
    assert assert_same(path, data, ["channel_0", "channel_1", "channel_2"]).format == "tiff"


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 8}, {"tile": (16, 32)}, {}], ids=["strips", "tiles", "whole"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_one_page_of_several_samples(tmp_path, stack, planar, layout, compression):
    path, data = tmp_path / "s.tif", stack.astype("uint16")
    written = np.ascontiguousarray(np.moveaxis(data, 0, -1)) if planar == "contig" else data
    options = dict(photometric="minisblack", planarconfig=planar, compression=compression, **layout)
    tifffile.imwrite(path, written, **options)
    field = assert_same(path, data)
    np.testing.assert_array_equal(field.read(1, y0=7, y1=34, x0=15, x1=65), data[1, 7:34, 15:65])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("predictor", [False, True])
def test_rgb_tiff(tmp_path, stack, dtype, predictor):
    path, data = tmp_path / "rgb.tif", stack.astype(dtype)
    pixels = np.ascontiguousarray(np.moveaxis(data, 0, -1))
    tifffile.imwrite(path, pixels, photometric="rgb", compression="lzw", predictor=predictor)
    field = assert_same(path, data, ["red", "green", "blue"])
    assert field.colors == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_alpha_of_an_rgba_tiff_is_not_a_channel(tmp_path, stack):
    data = stack.astype("uint8")
    pixels = np.concatenate([np.moveaxis(data, 0, -1), np.full((53, 71, 1), 255, np.uint8)], axis=-1)
    tifffile.imwrite(tmp_path / "rgba.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    assert_same(tmp_path / "rgba.tif", data, ["red", "green", "blue"])


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_big_endian_and_bigtiff(tmp_path, stack, bigtiff, compression):
    path, data = tmp_path / "b.tif", stack.astype("uint16")
    options = dict(byteorder=">", bigtiff=bigtiff, compression=compression, photometric="minisblack")
    tifffile.imwrite(path, data, **options)
    assert_same(path, data)


@pytest.mark.parametrize("resolution, size", [((20000, 20000), 0.5), ((72 / 2.54, 72 / 2.54), None)])
def test_pixel_size_of_plain_tiff_unless_it_is_a_screen_resolution(tmp_path, stack, resolution, size):
    path = tmp_path / "p.tif"
    tifffile.imwrite(path, stack[0].astype("uint8"), resolution=resolution, resolutionunit="CENTIMETER")
    with open_field(path) as field:
        assert field.pixel_size_um == (size and pytest.approx(size))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_grey_png(tmp_path, rng, dtype):
    data = rng.integers(0, np.iinfo(dtype).max, (1, 41, 57)).astype(dtype)
    Image.fromarray(data[0]).save(tmp_path / "g.png")
    assert assert_same(tmp_path / "g.png", data, ["grey"]).format == "png"


@pytest.mark.parametrize("n_samples", [3, 4])
def test_colour_png_with_and_without_alpha(tmp_path, rng, n_samples):
    pixels = rng.integers(0, 255, (41, 57, n_samples)).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "c.png")
    assert_same(tmp_path / "c.png", np.moveaxis(pixels, -1, 0)[:3], ["red", "green", "blue"])


def test_alpha_of_a_grey_png_is_not_a_channel(tmp_path, rng):
    pixels = rng.integers(0, 255, (41, 57, 2)).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "la.png")
    assert_same(tmp_path / "la.png", pixels[None, ..., 0], ["grey"])


def test_palette_png_reads_as_its_colours(tmp_path, rng):
    image = Image.fromarray(rng.integers(0, 255, (41, 57, 3)).astype("uint8")).quantize(16)
    image.save(tmp_path / "p.png")
    assert_same(tmp_path / "p.png", np.moveaxis(np.asarray(image.convert("RGB")), -1, 0), ["red", "green", "blue"])


@pytest.mark.parametrize("mode, channels", [("L", ["grey"]), ("RGB", ["red", "green", "blue"])])
def test_jpeg_reads_as_pillow_decodes_it(tmp_path, rng, mode, channels):
    path = tmp_path / "j.jpg"
    Image.fromarray(rng.integers(0, 255, (41, 57, 3)).astype("uint8")).convert(mode).save(path)
    decoded = np.atleast_3d(np.asarray(Image.open(path)))
    assert assert_same(path, np.moveaxis(decoded, -1, 0), channels).format == "jpeg"


def test_format_is_detected_from_the_content_not_the_file_name(tmp_path, rng):
    data = rng.integers(0, 255, (1, 41, 57)).astype("uint8")
    Image.fromarray(data[0]).save(tmp_path / "really_a_png.tif", format="png")
    tifffile.imwrite(tmp_path / "really_a_tiff.png", data[0])
    assert assert_same(tmp_path / "really_a_png.tif", data).format == "png"
    assert assert_same(tmp_path / "really_a_tiff.png", data).format == "tiff"


@pytest.mark.parametrize("ending", ["tif", "png"])
def test_an_open_field_can_be_sent_to_a_data_loader_worker(tmp_path, rng, ending):
    data = rng.integers(0, 255, (1, 41, 57)).astype("uint8")
    path = tmp_path / f"f.{ending}"
    tifffile.imwrite(path, data[0]) if ending == "tif" else Image.fromarray(data[0]).save(path)
    with open_field(path) as field:
        before = field.read(0)
        copy = pickle.loads(pickle.dumps(field))
    np.testing.assert_array_equal(copy.read(0), before)
    copy.close()


def test_the_levels_of_a_pyramid_are_read(tmp_path):
    pixels = np.random.default_rng(0).random((2, 1301, 1100)).astype(np.float32)
    path = tmp_path / "p.ome.tif"
    write_ome_tiff(path, pixels, ["A", "B"], pyramid=True, tile=256)
    with open_field(path) as field:
        found = field.reduced("B", 4)
        assert found is not None and found.shape == (326, 275) and found.dtype == np.float32
        np.testing.assert_allclose(found[:325], pixels[1, :1300].reshape(325, 4, 275, 4).mean(axis=(1, 3)), atol=1e-6)
        assert field.reduced("B", 3) is None and field.reduced("B", 64) is None
    write_ome_tiff(path, pixels, ["A", "B"])
    with open_field(path) as field:
        assert field.reduced("B", 4) is None
