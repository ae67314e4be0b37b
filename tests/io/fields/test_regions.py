"""`Field.read` of a region: equal to a slice of the plane, decoding only the strips or tiles that it touches."""

import tracemalloc

import numpy as np
import pytest
import tifffile

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field

LAYOUTS = {
    "strips": dict(rowsperstrip=16),
    "odd strips": dict(rowsperstrip=7),
    "one strip": dict(),
    "tiles": dict(tile=(32, 48)),
}


@pytest.fixture
def stack(rng):
    return rng.integers(0, 60000, (3, 101, 137)).astype(np.uint16)


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_regions_equal_slices_of_the_plane(tmp_path, rng, stack, layout, compression):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", compression=compression, **LAYOUTS[layout])
    with open_field(path) as field:
        for _ in range(30):
            (y0, y1), (x0, x1) = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in (101, 137))
            channel = int(rng.integers(3))
            np.testing.assert_array_equal(field.read(channel, y0=y0, y1=y1, x0=x0, x1=x1), stack[channel, y0:y1, x0:x1])


@pytest.mark.parametrize(
    "region",
    [(0, 1, 0, 1), (100, 101, 136, 137), (0, 101, 136, 137), (96, 101, 0, 137), (31, 33, 47, 49), (32, 64, 48, 96)],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_regions_at_the_borders_of_field_and_tiles_equal_slices(tmp_path, stack, layout, region):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", compression="lzw", **LAYOUTS[layout])
    y0, y1, x0, x1 = region
    with open_field(path) as field:
        np.testing.assert_array_equal(field.read(2, *region), stack[2, y0:y1, x0:x1])


def test_regions_of_a_component_equal_slices(component, planes, rng):
    with open_field(component) as field:
        for _ in range(30):
            (y0, y1), (x0, x1) = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in field.shape)
            np.testing.assert_array_equal(
                field.read("CK", y0=y0, y1=y1, x0=x0, x1=x1), planes["CK (Opal 690)"][y0:y1, x0:x1]
            )


def test_open_ends_reach_the_last_row_and_column(component, planes):
    with open_field(component) as field:
        np.testing.assert_array_equal(field.read("DAPI", 40, x0=60), planes["DAPI"][40:, 60:])
        np.testing.assert_array_equal(field.read("DAPI", y1=3, x1=5), planes["DAPI"][:3, :5])


@pytest.mark.parametrize("region", [(-1, 5, 0, 5), (0, 53, 0, 5), (0, 5, 0, 69), (5, 5, 0, 5), (9, 3, 0, 5)])
def test_a_region_outside_or_empty_is_a_user_error(component, region):
    with open_field(component) as field, pytest.raises(UserError, match="not inside") as error:
        field.read("DAPI", *region)
    assert component.name in str(error.value)


def test_opening_a_component_decodes_nothing(component, decoded):
    open_field(component).close()
    assert decoded == []


def test_reading_one_channel_decodes_the_strips_of_one_page(component, decoded):
    with open_field(component) as field:
        field.read("DAPI")
    assert decoded == [0, 1, 2, 3]  # 52 rows in strips of 16


def test_a_region_decodes_only_the_strips_it_touches(component, decoded):
    with open_field(component) as field:
        field.read("CD8", y0=16, y1=32, x0=5, x1=6)
        assert decoded == [1]
        decoded.clear()
        field.read("CD8", y0=15, y1=33, x0=5, x1=6)
        assert decoded == [0, 1, 2]


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_region_decodes_only_the_tiles_it_touches(tmp_path, rng, decoded, compression):
    path, plane = tmp_path / "t.tif", rng.integers(0, 255, (1024, 1024)).astype(np.uint8)
    tifffile.imwrite(path, plane, tile=(128, 128), compression=compression)
    with open_field(path) as field:
        region = field.read(0, y0=250, y1=260, x0=640, x1=700)
    assert sorted(decoded) == [1 * 8 + 5, 2 * 8 + 5]
    np.testing.assert_array_equal(region, plane[250:260, 640:700])


def test_a_channel_of_a_separate_planar_page_decodes_its_own_segments(tmp_path, stack, decoded):
    path = tmp_path / "s.tif"
    options = dict(photometric="minisblack", planarconfig="separate", compression="lzw", rowsperstrip=51)
    tifffile.imwrite(path, stack, **options)
    with open_field(path) as field:
        plane = field.read(1)
    assert decoded == [2, 3]
    np.testing.assert_array_equal(plane, stack[1])


def test_a_pyramid_decodes_tiles_of_the_full_resolution_only(tmp_path, rng, decoded):
    path, data = tmp_path / "p.ome.tif", rng.integers(0, 255, (2, 128, 128)).astype(np.uint8)
    options = dict(tile=(64, 64), compression="deflate", photometric="minisblack")
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(data, subifds=1, metadata={"axes": "CYX"}, **options)
        tif.write(data[:, ::2, ::2], subfiletype=1, **options)
    with open_field(path) as field:
        field.read(1, y0=64, y1=128, x0=64, x1=128)
    assert decoded == [3]


def test_a_region_of_a_large_uncompressed_file_takes_little_memory(tmp_path):
    path = tmp_path / "large.tif"
    written = tifffile.memmap(path, shape=(6000, 5000), dtype=np.uint16, photometric="minisblack")  # 60 MB
    written[3000:3064, 2000:2064] = 77
    written.flush()
    del written
    with open_field(path) as field:
        tracemalloc.start()
        region = field.read(0, y0=2990, y1=3064, x0=2000, x1=2064)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (region[:10] == 0).all()
    assert (region[10:] == 77).all()
    assert peak < 1_000_000
