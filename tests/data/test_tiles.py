"""Square tiles of a field."""

import numpy as np
import pytest

from dedl_fastai.data.cache import CachedField
from dedl_fastai.data.tiles import cut, grid, is_blank, tiles_of
from dedl_fastai.errors import UserError


@pytest.fixture
def field(tmp_path):
    """Create a cached field of random pixels (2, H, W) with one nucleus pixel in the upper left corner of its mask."""

    def make(shape):
        rng = np.random.default_rng(0)
        mask = np.zeros(shape, np.uint8)
        mask[0, 0] = 1
        np.save(tmp_path / "pixels.npy", rng.random((2, *shape), np.float32))
        np.save(tmp_path / "mask.npy", mask)
        return CachedField("f", str(tmp_path / "pixels.npy"), str(tmp_path / "mask.npy"), shape)

    return make


@pytest.mark.parametrize(("size", "n"), [(480, 12), (256, 48)])
def test_number_of_tiles_of_a_field_is_that_of_the_paper(size, n):
    field = CachedField("f", "", "", (1408, 1876))
    assert len(tiles_of([field], size)) == len(list(grid((1408, 1876), size))) == n


@pytest.mark.parametrize("shape", [(96, 128), (100, 130), (64, 64), (65, 63)])
def test_tiles_cover_every_pixel_of_the_field_once(field, shape):
    source = field(shape)
    seen = np.zeros((2, shape[0] + 64, shape[1] + 64), np.float32)
    for tile in tiles_of([source], 64):
        seen[:, tile.y : tile.y + 64, tile.x : tile.x + 64] += tile.pixels()
    np.testing.assert_array_equal(seen[:, : shape[0], : shape[1]], source.open_pixels())


def test_tiles_have_the_dtype_and_shape_that_models_need(field):
    for tile in tiles_of([field((70, 100))], 64):
        assert tile.pixels().shape == (2, 64, 64) and tile.pixels().dtype == np.float32
        assert tile.mask().shape == (64, 64) and tile.mask().dtype == np.uint8


def test_padding_is_the_mirror_image_at_the_right_and_bottom():
    array = np.arange(6.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(
        cut(array, 0, 0, size=4, pad="reflect")[0], [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]]
    )


def test_padding_may_be_zero():
    array = np.arange(1.0, 7.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(cut(array, 1, 2, size=3, pad="zero")[0], [[6, 0, 0], [0, 0, 0], [0, 0, 0]])


def test_a_square_may_start_above_or_left_of_the_array():
    array = np.arange(1.0, 7.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(cut(array, -1, 1, size=3, pad="reflect")[0], [[2, 3, 3], [2, 3, 3], [5, 6, 6]])
    np.testing.assert_array_equal(cut(array, 1, -2, size=3, pad="zero")[0], [[0, 0, 4], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("pad", ["reflect", "zero"])
def test_a_margin_is_read_around_each_tile(field, pad):
    source = field((96, 130))
    for plain, wide in zip(tiles_of([source], 64, pad), tiles_of([source], 64, pad, margin=16), strict=True):
        assert wide.size == 96
        inside = np.s_[..., : plain.inside[0], : plain.inside[1]]
        np.testing.assert_array_equal(wide.pixels()[:, 16:80, 16:80][inside], plain.pixels()[inside])
        np.testing.assert_array_equal(wide.mask()[16:80, 16:80][inside], plain.mask()[inside])


def test_parts_within_the_field_are_all_of_it_and_no_padding(field):
    tiles = tiles_of([field((96, 130))], 64)
    assert [t.inside for t in tiles] == [(64, 64), (64, 64), (64, 2), (32, 64), (32, 64), (32, 2)]


@pytest.mark.parametrize("pad", ["reflect", "zero"])
def test_a_field_smaller_than_half_a_tile_is_still_one_tile(field, pad):
    source = field((10, 20))
    (tile,) = tiles_of([source], 64, pad)
    pixels = tile.pixels()
    np.testing.assert_array_equal(pixels[:, :10, :20], source.open_pixels())
    expected = np.pad(source.open_pixels(), ((0, 0), (0, 54), (0, 44)), "symmetric" if pad == "reflect" else "constant")
    np.testing.assert_array_equal(pixels, expected)


def test_image_and_mask_are_padded_in_the_same_way(field):
    source = field((40, 40))
    np.save(source.mask, (source.open_pixels()[0] > 0.5).astype(np.uint8))
    (tile,) = tiles_of([source], 64)
    np.testing.assert_array_equal(tile.mask(), tile.pixels()[0] > 0.5)


def test_a_tile_is_a_copy_that_cannot_change_the_field(field):
    source = field((64, 64))
    tile = tiles_of([source], 64)[0].pixels()
    tile[:] = -1
    assert source.open_pixels().min() >= 0


def test_only_a_tile_without_a_nucleus_is_blank(field):
    assert [is_blank(t) for t in tiles_of([field((128, 128))], 64)] == [False, True, True, True]


def test_tiles_have_the_given_split(field):
    assert {t.split for t in tiles_of([field((64, 128))], 64, split="valid")} == {"valid"}


def test_unknown_padding_is_an_error(field):
    with pytest.raises(UserError, match="pad='mirror' is unknown; it may be reflect or zero"):
        tiles_of([field((64, 64))], 64, "mirror")
