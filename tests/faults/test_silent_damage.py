"""Damage that decoders do not notice: it is refused or warned of, because the result would be silently wrong."""

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from dedl_fastai.data import Cohort
from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, read_cell_table, read_mask, read_segmentation_maps
from dedl_fastai.phenotypes import Rules

SQUARES = (np.add.outer(np.arange(64) // 8, np.arange(64) // 8) % 2).astype(np.uint8)
STACK = np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.uint8)
TABLE = "Cell ID\tPhenotype\tCD4 Mean\n1\tB\t1.25\n2\tT\t10.5\n3\tB\t7.125\n"


def planes_of(path):
    with open_field(path) as field:
        return np.stack([field.read(i) for i in range(len(field.channels))])


def refused(read, path, match=""):
    with pytest.raises(UserError, match=match) as error:
        read(path)
    assert path.name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("plane", [SQUARES, STACK[0]], ids=["mask", "picture"])
def test_a_png_whose_tail_is_zeros_or_missing_is_refused(tmp_path, plane):
    path = tmp_path / "a.png"
    Image.fromarray(plane).save(path)
    whole = path.read_bytes()
    end = len(whole) - 12  # of the pixels: the last chunk has 12 bytes
    for n in range(60, end, max(1, end // 25)):
        path.write_bytes(whole[:n] + bytes(len(whole) - n))
        refused(read_mask, path)
    path.write_bytes(whole[:end])
    refused(planes_of, path, "truncated")


def with_tag(path, page, name, value):
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[page].tags[name].overwrite(value)


def test_a_strip_of_0_bytes_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", compression="deflate", rowsperstrip=16)
    with tifffile.TiffFile(path) as tif:
        counts = list(tif.pages[1].databytecounts)
    with_tag(path, 1, "StripByteCounts", (counts[0], 0, *counts[2:]))
    refused(open_field, path, "page 1 has blocks without data")


@pytest.mark.parametrize("part", [0, 2], ids=["tag", "type"])
def test_zeroed_tags_are_refused(tmp_path, part):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", compression="deflate", rowsperstrip=16)
    with tifffile.TiffFile(path) as tif:
        at = tif.pages[0].tags["Software"].offset
    raw = path.read_bytes()
    path.write_bytes(raw[: at + part] + bytes(2) + raw[at + part + 2 :])
    refused(open_field, path, "chain of pages is broken")


def test_zeros_over_the_end_of_the_tags_and_the_beginning_of_the_description_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", compression="deflate", rowsperstrip=16)
    with tifffile.TiffFile(path) as tif:
        at = tif.pages[0].tags["Software"].offset + 12  # of the next page
    raw = path.read_bytes()
    path.write_bytes(raw[:at] + bytes(10) + raw[at + 10 :])
    refused(open_field, path, "its description begins with zeros")


def test_the_missing_tiles_of_a_sparse_file_are_zeros(tmp_path):
    path = tmp_path / "a.tif"
    tiles = iter([np.ones((16, 16), np.uint8), None, None, np.ones((16, 16), np.uint8)])
    tifffile.imwrite(path, tiles, shape=(32, 32), dtype="uint8", tile=(16, 16), compression="deflate")
    np.testing.assert_array_equal(planes_of(path)[0], np.kron(np.eye(2), np.ones((16, 16))))


def links_of(raw):
    """Where each page of a classic TIFF begins, and where its link to the next page is."""
    starts, links, at = [], [], 4
    while start := struct.unpack_from("<I", raw, at)[0]:
        at = start + 2 + 12 * struct.unpack_from("<H", raw, start)[0]
        starts.append(start)
        links.append(at)
    return starts, links


@pytest.mark.parametrize("imagej", [False, True])
@pytest.mark.parametrize("target", [0, 1])
def test_a_circular_chain_of_pages_is_refused(tmp_path, imagej, target):
    path = tmp_path / "a.tif"
    how = {"imagej": True, "metadata": {"axes": "CYX"}} if imagej else {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, STACK, **how)
    raw = bytearray(path.read_bytes())
    starts, links = links_of(raw)
    struct.pack_into("<I", raw, links[1], starts[target])  # the second page leads back
    path.write_bytes(raw)
    refused(open_field, path, "chain of pages is broken")


@pytest.mark.parametrize("how", [{}, {"rowsperstrip": 16}, {"tile": (32, 32)}], ids=["plain", "strips", "tiles"])
@pytest.mark.parametrize(("name", "value"), [("BitsPerSample", 8), ("ImageWidth", 32), ("ImageLength", 32)])
def test_a_header_that_claims_fewer_pixels_than_the_file_has_is_refused(tmp_path, how, name, value):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0].astype(np.uint16), metadata=None, **how)
    with_tag(path, 0, name, value)
    refused(open_field, path, "is damaged")


@pytest.mark.parametrize("how", [{}, {"rowsperstrip": 16}, {"tile": (32, 32)}], ids=["plain", "strips", "tiles"])
@pytest.mark.parametrize("codec", ["lzw", "lzma", "zlib", "packbits", "zstd"])
@pytest.mark.parametrize(("name", "value"), [("BitsPerSample", 8), ("BitsPerSample", 12), ("Compression", 4)])
def test_a_compressed_page_whose_tags_claim_fewer_bytes_is_refused(tmp_path, how, codec, name, value):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, 257 * SQUARES.astype(np.uint16), metadata=None, compression=codec, **how)
    with_tag(path, 0, name, value)
    refused(planes_of, path, "is damaged")


@pytest.mark.parametrize("bits", [8, 12])
def test_pixels_of_lzw_are_not_taken_for_others_by_their_number_of_bits(tmp_path, bits):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, 257 * SQUARES.astype(np.uint16), metadata=None, compression="lzw", predictor=True)
    np.testing.assert_array_equal(planes_of(path)[0], 257.0 * SQUARES)
    with_tag(path, 0, "BitsPerSample", bits)
    refused(planes_of, path, f"holds 8192 bytes of pixels, and its tags say {64 * 64 * bits // 8}")


def test_compressed_blocks_are_not_taken_for_pixels(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], metadata=None, compression="lzw", rowsperstrip=16)  # noise: longer than its pixels
    with_tag(path, 0, "Compression", 1)
    refused(open_field, path, "is damaged")


def test_a_zarr_store_without_some_of_its_chunks_is_warned_of(tmp_path, caplog):
    store = tmp_path / "a.zarr"
    array = zarr.open_array(str(store), mode="w", shape=(64, 64), chunks=(16, 16), dtype="u2")
    array[...] = STACK[0] + 1
    planes_of(store)
    assert not caplog.records
    [p for p in store.rglob("*") if p.is_file() and p.name not in (".zarray", ".zattrs", "zarr.json")][3].unlink()
    planes_of(store)
    assert "a.zarr: 1 of 16 chunks have no file and are read as 0" in caplog.text


def test_ids_that_float32_cannot_tell_apart_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, (2**24 + (np.arange(64) > 40)[None].repeat(8, 0)).astype(np.uint32))
    refused(read_mask, path, "ids below 16777216")


def test_a_table_that_is_cut_at_its_end_is_refused_or_warned_of(tmp_path, caplog):
    path = tmp_path / "cells.txt"
    refusals = 0
    for n in range(TABLE.index("\n") + 2, len(TABLE)):
        path.write_text(TABLE[:n])
        caplog.clear()
        try:
            read_cell_table(path)
        except UserError as e:
            assert "is cut short" in str(e)
            refusals += 1
        else:
            assert TABLE[n - 1] == "\n" or "may be cut short" in caplog.text
    assert refusals == 9


def test_a_table_with_two_columns_of_one_name_is_refused(tmp_path):
    path = tmp_path / "cells.txt"
    path.write_text(TABLE.replace("Phenotype", "CD4 Mean "))
    refused(read_cell_table, path, "two columns 'CD4 Mean'")


@pytest.mark.parametrize("cut", [2, 3])
def test_a_utf_16_table_that_is_cut_is_refused(tmp_path, cut):
    path = tmp_path / "cells.txt"
    path.write_bytes(TABLE.rstrip().encode("utf-16")[:-cut])
    if cut % 2:
        refused(read_cell_table, path, "cut short")
    else:
        assert read_cell_table(path)["CD4 Mean"].tolist() == [1.25, 10.5, 7.12]  # with a warning


def test_a_manifest_that_is_cut_is_refused(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text("image,mask,patient,split\na.png,a_mask.png,P1,train\nb.png,b_mask.p")
    refused(Cohort.load, path, "its last line has 2 values, and the table 4 columns")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_rules_are_read_in_every_usual_encoding(tmp_path, encoding):
    path = tmp_path / "rules.txt"
    path.write_bytes("# Regeln für Zellen\r\nb = CD19+ CD4-\r\n".encode(encoding))
    assert Rules.load(path).classes == {"b": {"CD19": True, "CD4": False}}


def test_binary_rules_are_refused(tmp_path):
    path = tmp_path / "rules.txt"
    path.write_bytes(b"b = CD19+\0")
    refused(Rules.load, path, "binary")


@pytest.mark.parametrize("plane", [SQUARES, np.zeros((64, 64), np.uint8), STACK[0]], ids=["mask", "black", "noise"])
def test_a_zeroed_part_of_lzw_is_refused(tmp_path, plane):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.tile(plane, (4, 4)), compression="lzw", photometric="minisblack")
    assert planes_of(path)[0, 0, 1] == plane[0, 1]
    with tifffile.TiffFile(path) as tif:
        at, n = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    raw = path.read_bytes()
    path.write_bytes(raw[: at + n // 2] + bytes(20) + raw[at + n // 2 + 20 :])
    refused(planes_of, path, "is damaged")


@pytest.mark.parametrize("n", [4, 9, 15, 30])
@pytest.mark.parametrize("seed", range(5))
def test_a_zeroed_end_of_an_lzw_block_is_refused(tmp_path, seed, n):
    path = tmp_path / "a.tif"
    plane = np.random.default_rng(seed).integers(0, 256, (160, 200), np.uint8)  # a code, and a zero, is a pixel each
    tifffile.imwrite(path, plane, compression="lzw", rowsperstrip=40, photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        ends = np.add(tif.pages[0].dataoffsets, tif.pages[0].databytecounts)
    raw = path.read_bytes()
    for end in (ends[0], ends[-1]):
        path.write_bytes(raw[: end - n] + bytes(n) + raw[end:])
        refused(planes_of, path, "is damaged")


@pytest.mark.parametrize("plane", [SQUARES, STACK[0]], ids=["mask", "noise"])
def test_zeros_that_fill_an_lzw_block_are_no_damage(tmp_path, plane):
    path = tmp_path / "a.tif"
    filled = imagecodecs.lzw_encode(plane.tobytes()) + bytes(12)
    how = {"compression": "lzw", "rowsperstrip": len(plane), "photometric": "minisblack"}
    tifffile.imwrite(path, iter([filled]), shape=plane.shape, dtype=plane.dtype, **how)
    np.testing.assert_array_equal(planes_of(path)[0], plane)


@pytest.mark.parametrize("first", ["count", "tags", "tail"])
@pytest.mark.parametrize("page", [0, 1])
def test_a_page_whose_tags_are_zeroed_is_refused(tmp_path, first, page):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", compression="deflate", rowsperstrip=16)
    raw = path.read_bytes()
    starts, links = links_of(raw)
    start = starts[page] + {"count": 0, "tags": 2, "tail": 14}[first]
    path.write_bytes(raw[:start] + bytes(links[page + 1] - start) + raw[links[page + 1] :])
    refused(planes_of, path)


def test_a_file_with_fewer_pages_than_it_says_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", compression="deflate")
    raw = bytearray(path.read_bytes())
    _, links = links_of(raw)
    struct.pack_into("<I", raw, links[1], 0)  # the first page is the last
    path.write_bytes(raw)
    refused(open_field, path, "fewer pages than its description says")


def test_a_zeroed_link_to_the_next_page_is_refused_if_the_tag_before_it_is_zeroed_too(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", compression="lzw", metadata=None, software="x" * 20)
    raw = path.read_bytes()
    start = links_of(raw)[1][0] - 4  # the place of the last tag's value
    path.write_bytes(raw[:start] + bytes(8) + raw[start + 8 :])
    refused(open_field, path, "chain of pages is broken")


@pytest.mark.parametrize("kind", [1, 5, 7])
def test_a_tag_of_another_type_is_refused(tmp_path, kind):
    path = tmp_path / "a.tif"
    xml = "<SegmentationImage><CompartmentType>Nucleus</CompartmentType></SegmentationImage>"
    tifffile.imwrite(path, SQUARES, compression="lzw", description=xml, metadata=None)
    raw = bytearray(path.read_bytes())
    raw[12] = kind  # of the first tag, the width
    path.write_bytes(raw)
    refused(read_segmentation_maps, path, "is damaged|claims")
    refused(open_field, path, "is damaged|claims")
