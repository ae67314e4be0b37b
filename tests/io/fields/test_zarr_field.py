"""OME-Zarr folders as fields: names, pixel size, regions, and folders that are refused."""

import numpy as np
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field

zarr = pytest.importorskip("zarr", minversion="3", reason="zarr 2, the last one for Python 3.10, writes otherwise")
PIXELS = np.random.default_rng(0).integers(0, 4000, (2, 70, 90)).astype(np.uint16)


def write_zarr(path, pixels=PIXELS, axes="cyx", version="0.4", unit="micrometer", labels=("DAPI", "CD4")):
    """Write an OME-Zarr image with one level, as in the specification."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    array = group.create_array("0", shape=pixels.shape, chunks=(1,) * (pixels.ndim - 2) + (32, 32), dtype=pixels.dtype)
    array[...] = pixels
    kinds = {"c": {"type": "channel"}, "t": {"type": "time"}, "z": {"type": "space"}}
    space = {"type": "space", "unit": unit}
    scale = [{"type": "scale", "scale": [0.5 if a in "yx" else 1.0 for a in axes]}]
    known = {
        "multiscales": [
            {
                "axes": [{"name": a, **kinds.get(a, space)} for a in axes],
                "datasets": [{"path": "0", "coordinateTransformations": scale}],
            }
        ],
        "omero": {"channels": [{"label": n, "color": "0000FF"} for n in labels]},
    }
    group.attrs.update(known if version == "0.4" else {"ome": {"version": "0.5", **known}})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_names_size_colours_and_regions(tmp_path, version):
    with open_field(write_zarr(tmp_path / "slide.zarr", version=version)) as field:
        assert field.channels == ["DAPI", "CD4"] and field.shape == (70, 90)
        assert field.pixel_size_um == 0.5 and field.colors == [(0, 0, 255)] * 2 and field.format == "ome-zarr"
        np.testing.assert_array_equal(field.read("cd4"), PIXELS[1])
        region = field.read("DAPI", y0=30, y1=41, x0=5, x1=88)
        assert region.dtype == np.float32
        np.testing.assert_array_equal(region, PIXELS[0, 30:41, 5:88])


def test_axes_of_length_1_are_dropped_and_longer_ones_are_refused(tmp_path):
    path = write_zarr(tmp_path / "one.zarr", PIXELS[None, :, None], "tczyx")
    np.testing.assert_array_equal(open_field(path).read("CD4"), PIXELS[1])
    with pytest.raises(UserError, match="length 2 along axis 'z'"):
        open_field(write_zarr(tmp_path / "stack.zarr", PIXELS[None], "czyx"))


def test_unit_decides_the_pixel_size(tmp_path):
    assert open_field(write_zarr(tmp_path / "a.zarr", unit="nanometer")).pixel_size_um == pytest.approx(0.0005)
    assert open_field(write_zarr(tmp_path / "b.zarr", unit=None)).pixel_size_um is None


def test_plain_array_and_channels_without_names(tmp_path):
    array = zarr.open_array(str(tmp_path / "plain.zarr"), mode="w", shape=PIXELS.shape, chunks=(1, 32, 32), dtype="u2")
    array[...] = PIXELS
    field = open_field(tmp_path / "plain.zarr")
    assert field.channels == ["channel_0", "channel_1"] and field.format == "zarr" and field.pixel_size_um is None
    assert open_field(write_zarr(tmp_path / "same.zarr", labels=("A", "a"))).channels == ["channel_0", "channel_1"]


@pytest.mark.parametrize("attributes", [{}, {"multiscales": []}, {"multiscales": [{"axes": [], "datasets": []}]}])
def test_group_that_is_not_an_image_is_refused(tmp_path, attributes):
    zarr.open_group(str(tmp_path / "tables.zarr"), mode="w").attrs.update(attributes)
    with pytest.raises(UserError, match="not an OME-Zarr image"):
        open_field(tmp_path / "tables.zarr")


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        open_field(tmp_path)


def test_a_url_is_opened_by_fsspec(tmp_path):
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    if int(zarr.__version__.split(".")[0]) < 3:
        pytest.skip("zarr 2 opens URLs in another way")
    fsspec.filesystem("memory").put(str(write_zarr(tmp_path / "slide.zarr")), "/bucket/slide.zarr", recursive=True)
    with open_field("memory://bucket/slide.zarr") as field:
        assert field.channels == ["DAPI", "CD4"] and field.pixel_size_um == 0.5
        np.testing.assert_array_equal(field.read("CD4", y0=30, y1=41), PIXELS[1, 30:41])
    with pytest.raises(UserError, match=r"bucket/none\.zarr is not an OME-Zarr image"):
        open_field("memory://bucket/none.zarr")
