"""`read_segmentation_maps` and `tissue_classes`: pages are identified by the role in their XML."""

import itertools

import numpy as np
import pytest
import tifffile

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, read_labels, read_segmentation_maps, tissue_classes

HEAD = '<?xml version="1.0" encoding="utf-16"?>\r\n'
ENTRY = "<Entry><Name>{}</Name><Color>255,255,0,0</Color><ID>933b1c38</ID></Entry>"
TISSUE = f"{HEAD}<TissueClassMap><Version>1</Version>{ENTRY.format('Tumor')}{ENTRY.format('Stroma')}</TissueClassMap>"
ROLES = ("tissue", "nucleus", "cytoplasm", "membrane")


def compartment(kind):
    return (
        f"{HEAD}<SegmentationImage>\r\n <Version>1</Version>\r\n"
        f" <CompartmentType>{kind}</CompartmentType>\r\n</SegmentationImage>"
    )


XML = {"tissue": TISSUE, **{r: compartment(r.capitalize()) for r in ROLES[1:]}, "object": compartment("Object")}


def write_maps(path, pages, **options):
    """Write a segmentation map with `pages` of (role, pixels) and descriptions as in inForm."""
    with tifffile.TiffWriter(path) as tif:
        for role, pixels in pages:
            tif.write(pixels, description=XML[role].encode(), metadata=None, compression="lzw", **options)
    return path


@pytest.fixture
def maps(rng):
    """Four different planes of 37 x 53; ids above 255."""
    highest = {"tissue": 2, "nucleus": 400, "cytoplasm": 400, "membrane": 2}
    return {r: rng.integers(0, n, (37, 53)).astype(np.uint16) for r, n in highest.items()}


@pytest.mark.parametrize("order", list(itertools.permutations(ROLES)), ids="-".join)
def test_each_role_has_its_pixels_whatever_the_page_order(tmp_path, maps, order):
    path = write_maps(tmp_path / "m_binary_seg_maps.tif", [(r, maps[r]) for r in order], rowsperstrip=16)
    found = read_segmentation_maps(path)
    assert set(found) == set(ROLES)
    for role in ROLES:
        np.testing.assert_array_equal(found[role], maps[role])
        assert found[role].dtype == np.uint16


def test_only_the_roles_present_are_returned(tmp_path, maps):
    path = write_maps(tmp_path / "m.tif", [("nucleus", maps["nucleus"])])
    assert list(read_segmentation_maps(path)) == ["nucleus"]


def test_pages_of_other_roles_are_left_out(tmp_path, maps):
    path = write_maps(tmp_path / "m.tif", [("object", maps["tissue"]), ("nucleus", maps["nucleus"])])
    found = read_segmentation_maps(path)
    assert list(found) == ["nucleus"]
    np.testing.assert_array_equal(found["nucleus"], maps["nucleus"])


def test_the_integer_type_of_the_file_is_kept(tmp_path, rng):
    ids = rng.integers(0, 100_000, (37, 53)).astype(np.uint32)
    found = read_segmentation_maps(write_maps(tmp_path / "m.tif", [("nucleus", ids)]))["nucleus"]
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, ids)


def test_tissue_classes_are_listed_in_the_order_of_their_ids(tmp_path, maps):
    path = write_maps(tmp_path / "m.tif", [("nucleus", maps["nucleus"]), ("tissue", maps["tissue"])])
    assert tissue_classes(path) == ["Tumor", "Stroma"]


def test_a_map_without_a_tissue_page_has_no_tissue_classes(tmp_path, maps):
    assert tissue_classes(write_maps(tmp_path / "m.tif", [("nucleus", maps["nucleus"])])) == []


def test_the_nucleus_page_is_the_mask_of_a_segmentation_map(tmp_path, maps):
    path = write_maps(tmp_path / "m.tif", [(r, maps[r]) for r in ROLES])
    np.testing.assert_array_equal(read_labels(path), maps["nucleus"])


def test_a_map_without_a_nucleus_page_is_refused_as_a_mask(tmp_path, maps):
    path = write_maps(tmp_path / "m.tif", [("tissue", maps["tissue"]), ("membrane", maps["membrane"])])
    with pytest.raises(UserError, match="tissue, membrane but no nucleus") as error:
        read_labels(path)
    assert "m.tif" in str(error.value)


def test_a_component_file_is_not_a_segmentation_map(component):
    with pytest.raises(UserError, match="not an inForm segmentation map") as error:
        read_segmentation_maps(component)
    assert component.name in str(error.value)


def test_a_segmentation_map_opens_as_a_field_of_its_pages(tmp_path, maps):
    path = write_maps(tmp_path / "m.tif", [(r, maps[r]) for r in ROLES])
    with open_field(path) as field:
        np.testing.assert_array_equal(field.read(1), maps["nucleus"])


@pytest.mark.parametrize("missing", [1, 40, 200, 320])
def test_a_map_cut_in_its_last_page_is_refused_instead_of_losing_a_role(tmp_path, maps, missing):
    """inForm writes the XML of a page after its tags: if its end is missing, the role of the page is unknown."""
    path = tmp_path / "m.tif"
    whole = _inform_like_map(maps)
    path.write_bytes(whole)
    assert set(read_segmentation_maps(path)) == {"nucleus", "cytoplasm"}
    path.write_bytes(whole[:-missing])
    with pytest.raises(UserError) as error:
        read_segmentation_maps(path)
    assert "m.tif" in str(error.value)


def _inform_like_map(maps) -> bytes:
    """Two uncompressed pages, each as pixels, tags and XML, in the order of inForm's files."""
    out, next_at = bytearray(b"II*\0\0\0\0\0"), 4
    for role in ("nucleus", "cytoplasm"):
        pixels, xml = maps[role], XML[role].encode()
        data_at = len(out)
        out += pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
        tags_at = len(out)
        out[next_at : next_at + 4] = tags_at.to_bytes(4, "little")
        height, width = pixels.shape
        xml_at = tags_at + 2 + 9 * 12 + 4
        long, short = 4, 3
        tags = [
            (256, long, 1, width),
            (257, long, 1, height),
            (258, short, 1, 16),
            (259, short, 1, 1),
            (262, short, 1, 1),
            (270, 2, len(xml), xml_at),
            (273, long, 1, data_at),
            (278, long, 1, height),
            (279, long, 1, pixels.nbytes),
        ]
        out += len(tags).to_bytes(2, "little")
        for code, kind, count, value in tags:
            out += code.to_bytes(2, "little") + kind.to_bytes(2, "little")
            out += count.to_bytes(4, "little") + value.to_bytes(4, "little")
        next_at = len(out)
        out += b"\0\0\0\0" + xml
    return bytes(out)
