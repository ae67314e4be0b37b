"""OME-TIFF writing: round trips, pyramid levels, metadata, bounded memory, whole files or none."""

import tracemalloc

import numpy as np
import pytest
import tifffile

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, write_ome_tiff


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
@pytest.mark.parametrize("shape", [(52, 68), (3, 130, 97), (1, 64, 64)])
def test_pixels_names_size_and_origin_round_trip(tmp_path, rng, dtype, shape):
    pixels = (rng.random(shape) * 200).astype(dtype)
    names = ["DAPI", "CD8 <Opal & 570> é", "Größe"][: shape[0] if len(shape) == 3 else 1]
    write_ome_tiff(tmp_path / "a.ome.tif", pixels, names, 0.4971, origin_um=(123.5, 67.25), tile=64)
    with open_field(tmp_path / "a.ome.tif") as field:
        assert (field.format, field.channels, field.shape) == ("ome-tiff", names, shape[-2:])
        assert field.pixel_size_um == pytest.approx(0.4971)
        assert field.origin_um == (123.5, 67.25)
        read = np.stack([field.read(n) for n in names])
    np.testing.assert_array_equal(read, pixels.reshape(-1, *shape[-2:]).astype(np.float32))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        assert tif.series[0].dtype == dtype
        np.testing.assert_array_equal(tif.asarray().reshape(shape), pixels)
        assert tif.pages[0].is_tiled


def test_a_missing_pixel_size_stays_unknown(tmp_path):
    write_ome_tiff(tmp_path / "a.ome.tif", np.eye(20, dtype=np.uint8), ["mask"])
    with open_field(tmp_path / "a.ome.tif") as field:
        assert field.pixel_size_um is None
        assert field.origin_um is None


def test_labels_are_downsampled_by_striding_so_that_no_new_label_appears(tmp_path, rng):
    labels = rng.integers(0, 9, (301, 215)).astype(np.uint32) * 70_000
    write_ome_tiff(tmp_path / "a.ome.tif", labels, ["nuclei"], 0.5, pyramid=True, tile=64)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        levels = tif.series[0].levels
        assert [level.shape for level in levels] == [(301, 215), (151, 108), (76, 54), (38, 27)]
        for i, level in enumerate(levels):
            np.testing.assert_array_equal(level.asarray(), labels[:: 2**i, :: 2**i])
        sizes = [1e4 / level.pages[0].resolution[0] for level in levels]
    assert sizes == pytest.approx([0.5, 1.0, 2.0, 4.0], rel=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("uint16", 0.51)])
def test_other_pixels_are_downsampled_by_their_mean(tmp_path, rng, dtype, tolerance):
    pixels = (rng.random((2, 256, 192)) * 1000).astype(dtype)
    write_ome_tiff(tmp_path / "a.ome.tif", pixels, ["a", "b"], 0.5, labels=False, pyramid=True, tile=64)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        assert len(tif.series) == 1
        levels = [level.asarray().astype(np.float64) for level in tif.series[0].levels]
    assert [level.shape for level in levels] == [(2, 256, 192), (2, 128, 96), (2, 64, 48)]
    for i, level in enumerate(levels):
        n = 2**i
        mean = pixels.reshape(2, 256 // n, n, 192 // n, n).astype(np.float64).mean(axis=(2, 4))
        np.testing.assert_allclose(level, mean, rtol=1e-5, atol=tolerance)


def test_uneven_edges_stay_within_the_range_of_the_pixels(tmp_path, rng):
    pixels = rng.random((201, 133)).astype(np.float32) + 5
    write_ome_tiff(tmp_path / "a.ome.tif", pixels, ["p"], pyramid=True, tile=32)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        for level in tif.series[0].levels:
            assert 5 <= level.asarray().min() <= level.asarray().max() <= 6


def test_only_large_images_get_a_pyramid_by_default(tmp_path):
    for edge, n in ((4096, 1), (4097, 5)):
        write_ome_tiff(tmp_path / "a.ome.tif", np.zeros((edge, 40), np.uint8), ["mask"])
        with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
            assert len(tif.series[0].levels) == n


@pytest.mark.parametrize("labels", [True, False])
def test_a_function_is_read_in_small_blocks_and_gives_the_same_file_as_an_array(tmp_path, rng, labels):
    pixels = rng.integers(0, 200, (2, 700, 500)).astype(np.uint8)
    block_sizes = []

    def read(channel, y0, y1, x0, x1):
        block_sizes.append((y1 - y0) * (x1 - x0))
        return pixels[channel, y0:y1, x0:x1]

    options = dict(labels=labels, pyramid=True, tile=128)
    write_ome_tiff(tmp_path / "1" / "a.ome.tif", read, ["a", "b"], shape=(2, 700, 500), dtype="uint8", **options)
    write_ome_tiff(tmp_path / "2" / "a.ome.tif", pixels, ["a", "b"], **options)
    assert (tmp_path / "1" / "a.ome.tif").read_bytes() == (tmp_path / "2" / "a.ome.tif").read_bytes()
    assert labels or max(block_sizes) <= 128 * 128


@pytest.mark.parametrize("dtype", ["uint32", "float32"])
def test_memory_stays_far_below_the_size_of_the_image(tmp_path, dtype):
    row = np.arange(6000, dtype=dtype)

    def read(channel, y0, y1, x0, x1):
        return np.broadcast_to(row[x0:x1], (y1 - y0, x1 - x0))

    tracemalloc.start()
    try:
        write_ome_tiff(tmp_path / "a.ome.tif", read, ["x"], shape=(6000, 6000), dtype=dtype)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6000 * 6000 * 4 / 2


def test_bigtiff_is_used_if_32_bit_offsets_might_not_suffice(tmp_path, monkeypatch):
    monkeypatch.setattr("dedl_fastai.io.ome_tiff._CLASSIC_BYTES", 10_000)
    for edge, is_big in ((50, False), (200, True)):
        write_ome_tiff(tmp_path / "a.ome.tif", np.eye(edge, dtype=np.uint8), ["mask"])
        with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
            assert tif.is_bigtiff == is_big


def test_a_failure_half_way_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.ome.tif"
    path.write_bytes(b"old")

    def read(channel, y0, y1, x0, x1):
        if y0 >= 512:
            raise RuntimeError("boom")
        return np.zeros((y1 - y0, x1 - x0), np.uint8)

    with pytest.raises(RuntimeError, match="boom"):
        write_ome_tiff(path, read, ["mask"], shape=(5000, 600), dtype=np.uint8)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.tif"]


@pytest.mark.parametrize(
    "pixels, names, words",
    [
        (np.zeros((4, 4)), ["a"], "float64"),
        (np.zeros((4, 4), np.int64), ["a"], "int64"),
        (np.zeros((2, 4, 4), np.uint8), ["a"], "1 channel names were given for 2"),
        (np.zeros((1, 2, 4, 4), np.uint8), ["a"], "not an image"),
        (np.zeros((0, 4), np.uint8), ["a"], "not an image"),
        (lambda *_: None, ["a"], "`shape` and `dtype`"),
    ],
)
def test_unsupported_pixels_are_a_user_error(tmp_path, pixels, names, words):
    with pytest.raises(UserError, match=words):
        write_ome_tiff(tmp_path / "a.ome.tif", pixels, names)
    assert list(tmp_path.iterdir()) == []
