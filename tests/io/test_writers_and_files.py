"""Writers and `io.files`: files are whole or absent, the same input gives the same bytes, errors are clear."""

import errno
import os

import numpy as np
import pytest
import tifffile

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, write_component_tiff, write_label_tiff
from dedl_fastai.io.files import existing_dir, existing_file, read_json, write_json, write_text, written_whole


def names_in(folder):
    return [p.name for p in folder.iterdir()]


def test_same_component_gives_the_same_bytes(tmp_path, planes, thumbnail):
    for name in ("a.tif", "b.tif"):
        write_component_tiff(
            tmp_path / name,
            planes,
            colors=[(0, 0, 9)] * 5,
            thumbnail=thumbnail,
            pixel_size_um=0.5,
            origin_um=(1.0, 2.0),
            slide_id="S",
        )
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_same_labels_give_the_same_bytes(tmp_path):
    for name in ("a.tif", "b.tif"):
        write_label_tiff(tmp_path / name, np.eye(40, dtype=np.uint16), 0.5)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_component_pages_have_the_layout_of_inform(component):
    with tifffile.TiffFile(component) as tif:
        assert tif.byteorder == "<"
        assert [p.dtype for p in tif.pages] == [np.float32] * 5 + [np.uint8]
        assert {p.compression for p in tif.pages} == {tifffile.COMPRESSION.LZW}
        assert {p.rowsperstrip for p in tif.pages} == {16, 13}  # the thumbnail has 13 rows
        assert {p.software for p in tif.pages} == {"PerkinElmer-QPI"}
        assert all(p.tags["ResolutionUnit"].value == 3 for p in tif.pages)
        full, small = (p.resolution[0] for p in (tif.pages[0], tif.pages[-1]))
    assert full / small == pytest.approx(4, rel=1e-4)


def test_channel_names_with_markup_round_trip(tmp_path, planes, thumbnail):
    name = "CD3 <Opal & 570> é"
    write_component_tiff(
        tmp_path / "c.tif",
        {name: planes["DAPI"]},
        colors=[(1, 2, 3)],
        thumbnail=thumbnail,
        pixel_size_um=0.5,
    )
    with open_field(tmp_path / "c.tif") as field:
        assert field.channels == [name]
        np.testing.assert_array_equal(field.read(0), planes["DAPI"])


def test_a_label_tiff_stores_its_pixel_size(tmp_path):
    write_label_tiff(tmp_path / "m.tif", np.eye(40, dtype=np.uint8), pixel_size_um=0.4971)
    with open_field(tmp_path / "m.tif") as field:
        assert field.pixel_size_um == pytest.approx(0.4971, rel=1e-5)


def test_a_missing_parent_folder_is_created(tmp_path):
    write_label_tiff(tmp_path / "new" / "er" / "m.tif", np.eye(4, dtype=np.uint8))
    assert (tmp_path / "new" / "er" / "m.tif").is_file()


def test_a_finished_block_replaces_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("old")
    with written_whole(path) as tmp:
        tmp.write_text("new")
        assert path.read_text() == "old"
        assert tmp.parent == path.parent
        assert tmp.suffix == path.suffix
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["t.txt"]


def test_the_new_file_replaces_the_old_one_in_one_step(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"  # a reader sees one of the two files, never a mixture
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()])
def test_an_exception_in_the_block_keeps_the_old_file_and_passes_through(tmp_path, error):
    path = tmp_path / "t.txt"
    path.write_text("old")
    with pytest.raises(type(error)), written_whole(path) as tmp:
        tmp.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["t.txt"]


@pytest.mark.parametrize(
    "number, words",
    [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EACCES, "permitted"), (errno.EROFS, "read-only")],
)
def test_write_errors_name_the_file_and_the_cause(tmp_path, number, words):
    path = tmp_path / "t.txt"
    with pytest.raises(UserError, match=words) as error, written_whole(path) as tmp:
        tmp.write_text("half")
        raise OSError(number, os.strerror(number))
    assert str(path) in str(error.value)
    assert names_in(tmp_path) == []


def test_an_unknown_os_error_is_passed_on_unchanged(tmp_path):
    with pytest.raises(OSError, match="Input/output") as error, written_whole(tmp_path / "t.txt"):
        raise OSError(errno.EIO, "Input/output error")
    assert error.value.errno == errno.EIO


@pytest.fixture
def full_disk(monkeypatch):
    """Let every TIFF page after the first fail with 'no space left on device'."""
    original, written = tifffile.TiffWriter.write, []

    def write(self, *args, **kwargs):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(1)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(tifffile.TiffWriter, "write", write)
    return written


def test_a_full_disk_keeps_the_old_component(component, planes, thumbnail, full_disk):
    before = component.read_bytes()
    with pytest.raises(UserError, match="disk is full") as error:
        write_component_tiff(
            component,
            {n: p + 1 for n, p in planes.items()},
            colors=[(0, 0, 9)] * 5,
            thumbnail=thumbnail,
            pixel_size_um=0.5,
        )
    assert component.name in str(error.value)
    assert component.read_bytes() == before
    assert names_in(component.parent) == [component.name]


def test_a_full_disk_leaves_no_new_file(tmp_path, full_disk):
    full_disk.append(1)
    with pytest.raises(UserError, match="disk is full"):
        write_label_tiff(tmp_path / "m.tif", np.eye(4, dtype=np.uint8))
    assert names_in(tmp_path) == []


def test_a_folder_that_is_a_file_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"m\.tif"):
        write_label_tiff(tmp_path / "file" / "m.tif", np.eye(4, dtype=np.uint8))
    assert (tmp_path / "file").read_text() == "x"


def test_json_round_trip_keeps_non_ascii_letters_and_order(tmp_path):
    value = {"b": [1, 2.5, None], "a": "Größe µm"}
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json") == value
    assert list(read_json(tmp_path / "v.json")) == ["b", "a"]
    assert "µm" in (tmp_path / "v.json").read_text(encoding="utf-8")


def test_text_is_written_with_unix_line_ends(tmp_path):
    write_text(tmp_path / "t.txt", "a\nb\n")
    assert (tmp_path / "t.txt").read_bytes() == b"a\nb\n"


@pytest.mark.parametrize("content", [b'{"a": 1', b"\xff\xfe\x00", b""])
def test_broken_json_is_a_user_error_naming_the_file(tmp_path, content):
    (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(UserError, match=r"v\.json"):
        read_json(tmp_path / "v.json")


def test_existing_file_and_existing_dir_refuse_the_other_kind_and_missing_paths(tmp_path):
    file = tmp_path / "f"
    file.write_text("x")
    assert existing_file(str(file)) == file
    assert existing_dir(str(tmp_path)) == tmp_path
    with pytest.raises(UserError, match="is a folder"):
        existing_file(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        existing_dir(file)
    for check in (existing_file, existing_dir):
        with pytest.raises(UserError, match="does not exist"):
            check(tmp_path / "none")
