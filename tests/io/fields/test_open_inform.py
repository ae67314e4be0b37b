"""`open_field` on inForm component TIFFs: names, order, size, position, colours, thumbnail, channel lookup."""

import re

import numpy as np
import pytest
import tifffile

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, write_component_tiff

XML = """<?xml version="1.0" encoding="utf-16"?>\r\n<PerkinElmer-QPI-ImageDescription>
<ImageType>{kind}</ImageType>{body}</PerkinElmer-QPI-ImageDescription>"""


def write_pages(path, pages, **options):
    """Write a TIFF of (pixels, XML) pages."""
    with tifffile.TiffWriter(path) as tif:
        for pixels, xml in pages:
            colour = "rgb" if pixels.ndim == 3 else "minisblack"
            tif.write(pixels, photometric=colour, description=xml.encode(), metadata=None, **options)


def test_channel_names_come_from_the_xml_in_page_order(component, planes):
    with open_field(component) as field:
        assert field.format == "inform"
        assert field.channels == list(planes)
        assert field.shape == (52, 68)


@pytest.mark.parametrize("seed", range(4))
def test_each_channel_name_gives_its_pixels_in_any_page_order(tmp_path, planes, thumbnail, seed):
    names = list(np.random.default_rng(seed).permutation(list(planes)))
    path = tmp_path / "c.tif"
    write_component_tiff(
        path, {n: planes[n] for n in names}, colors=[(0, 0, 9)] * 5, thumbnail=thumbnail, pixel_size_um=0.5
    )
    with open_field(path) as field:
        assert field.channels == names
        for name, pixels in planes.items():
            np.testing.assert_array_equal(field.read(name), pixels)


def test_thumbnail_page_is_not_a_channel_but_a_quarter_size_rgb_picture(component, thumbnail):
    with open_field(component) as field:
        assert len(field.channels) == 5
        np.testing.assert_array_equal(field.thumbnail(), thumbnail)
        assert field.thumbnail().dtype == np.uint8
        assert field.thumbnail().shape == (field.shape[0] // 4, field.shape[1] // 4, 3)


def test_pixel_size_stage_position_slide_and_colours_are_read(component):
    with open_field(component) as field:
        assert field.pixel_size_um == pytest.approx(0.4971, rel=1e-5)
        assert field.origin_um == pytest.approx((12345.5, 6789.25), abs=0.01)
        assert field.slide_id == "P1 & co"
        assert field.colors[2] == (0, 0, 255)
        assert field.colors[4] == (10, 20, 30)


def test_values_above_one_are_kept_as_float32(component, planes):
    with open_field(component) as field:
        pixels = field.read("DAPI")
    assert pixels.dtype == np.float32
    assert pixels.max() == planes["DAPI"].max() > 20


def test_xml_is_declared_utf16_but_stored_in_8_bits(component):
    raw = component.read_bytes()
    assert b'encoding="utf-16"' in raw
    assert "PerkinElmer".encode("utf-16-le") not in raw
    with open_field(component) as field:
        assert "DAPI" in field.channels


def test_name_inside_scan_profile_is_not_the_channel_name(tmp_path, rng):
    profile = "<ScanProfile><root><Name>decoy</Name></root></ScanProfile>"
    pages = [
        (rng.random((16, 20), np.float32), XML.format(kind="FullResolution", body=f"{profile}<Name>{n}</Name>"))
        for n in ("Cy5", "DAPI")
    ]
    write_pages(tmp_path / "c.tif", pages)
    with open_field(tmp_path / "c.tif") as field:
        assert field.channels == ["Cy5", "DAPI"]


def test_biomarker_is_put_before_the_fluorophore(tmp_path, rng):
    body = "<Name>Opal 570</Name><Biomarker>FoxP3</Biomarker><Color>255,1,2,3</Color>"
    dapi = XML.format(kind="FullResolution", body="<Name>DAPI</Name><Biomarker>DAPI</Biomarker>")
    pixels = rng.random((16, 20), np.float32)
    write_pages(tmp_path / "c.tif", [(pixels, XML.format(kind="FullResolution", body=body)), (pixels, dapi)])
    with open_field(tmp_path / "c.tif") as field:
        assert field.channels == ["FoxP3 (Opal 570)", "DAPI"]
        assert field.colors == [(1, 2, 3), None]


def test_qptiff_like_tiled_pages_with_a_pyramid_read_at_full_resolution(tmp_path, rng):
    full = rng.integers(0, 255, (2, 160, 192)).astype(np.uint8)
    pages = [(p, XML.format(kind="FullResolution", body=f"<Name>c{i}</Name>")) for i, p in enumerate(full)]
    pages += [(rng.integers(0, 255, (40, 48, 3)).astype(np.uint8), XML.format(kind="Thumbnail", body=""))]
    pages += [(np.ascontiguousarray(p[::2, ::2]), XML.format(kind="ReducedResolution", body="")) for p in full]
    path = tmp_path / "slide.qptiff"
    write_pages(path, pages, tile=(32, 48), compression="lzw", software="PerkinElmer-QPI")
    with open_field(path) as field:
        assert (field.format, field.channels, field.shape) == ("qptiff", ["c0", "c1"], (160, 192))
        np.testing.assert_array_equal(field.read("c1"), full[1])
        np.testing.assert_array_equal(field.read("c0", y0=31, y1=97, x0=47, x1=145), full[0, 31:97, 47:145])
        assert field.thumbnail().shape == (40, 48, 3)


def test_the_thumbnail_is_distinguished_from_other_rgb_pages(tmp_path, rng):
    macro, small = (rng.integers(0, 255, (n, 20, 3)).astype(np.uint8) for n in (30, 12))
    pages = [(rng.random((48, 80), np.float32), XML.format(kind="FullResolution", body="<Name>DAPI</Name>"))]
    pages += [(macro, XML.format(kind="Overview", body="")), (small, XML.format(kind="Thumbnail", body=""))]
    write_pages(tmp_path / "c.tif", pages)
    with open_field(tmp_path / "c.tif") as field:
        assert field.channels == ["DAPI"]
        np.testing.assert_array_equal(field.thumbnail(), small)
        with pytest.raises(UserError, match="no channel ''"):
            field.channel_index("")


def test_without_stage_position_the_origin_is_none(tmp_path, rng):
    xml = XML.format(kind="FullResolution", body="<Name>DAPI</Name>")
    write_pages(tmp_path / "c.tif", [(rng.random((16, 20), np.float32), xml)])
    with open_field(tmp_path / "c.tif") as field:
        assert field.origin_um is None
        assert field.thumbnail() is None


def test_a_stage_position_of_0_over_0_is_ignored(tmp_path, rng):
    xml = XML.format(kind="FullResolution", body="<Name>DAPI</Name>")
    tags = [(286, 5, 1, (0, 0), True), (287, 5, 1, (0, 0), True)]
    options = dict(resolution=(20000, 20000), resolutionunit="CENTIMETER", extratags=tags)
    write_pages(tmp_path / "c.tif", [(rng.random((16, 20), np.float32), xml)], **options)
    with open_field(tmp_path / "c.tif") as field:
        assert field.pixel_size_um == pytest.approx(0.5)
        assert field.origin_um is None


@pytest.mark.parametrize("wanted", ["DAPI", "dapi", "  Dapi ", "d", "DA", 2, np.int64(2), "2"])
def test_channel_is_found_by_name_any_case_prefix_or_index(component, wanted):
    with open_field(component) as field:
        assert field.channel_index(wanted) == 2


def test_a_prefix_of_several_names_is_refused_with_their_list(component):
    with open_field(component) as field, pytest.raises(UserError, match=r"CD8 .*CD68") as error:
        field.read("CD")
    assert component.name in str(error.value)


def test_a_full_name_wins_over_a_longer_one_that_starts_with_it(tmp_path, planes, thumbnail):
    first, second = list(planes.values())[:2]
    write_component_tiff(
        tmp_path / "c.tif",
        {"CD80": first, "CD8": second},
        colors=[(0, 0, 9)] * 2,
        thumbnail=thumbnail,
        pixel_size_um=0.5,
    )
    with open_field(tmp_path / "c.tif") as field:
        assert field.channel_index("cd8") == 1


def test_an_unknown_channel_names_the_file_the_channels_and_the_nearest_one(component, planes):
    with open_field(component) as field, pytest.raises(UserError, match="Did you mean 'Autofluorescence'") as error:
        field.read("Autofluoresence")
    message = str(error.value)
    assert component.name in message
    assert all(n in message for n in planes)


@pytest.mark.parametrize("wanted", ["", "   ", "xyz", 5, -1, "17"])
def test_a_missing_channel_is_a_user_error(component, wanted):
    with open_field(component) as field, pytest.raises(UserError, match=re.escape(component.name)):
        field.channel_index(wanted)


def test_a_closed_field_can_be_read_again(component, planes):
    field = open_field(component)
    field.read(0)
    field.close()
    np.testing.assert_array_equal(field.read("DAPI"), planes["DAPI"])
    field.close()
