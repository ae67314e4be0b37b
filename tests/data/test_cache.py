"""Cache of decoded fields in memory-mapped files."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dedl_fastai.data import Cohort, PercentileScaling
from dedl_fastai.data import cache as cache_module
from dedl_fastai.data.cache import cache_cohort, cache_folder
from dedl_fastai.io import open_field, read_mask

from ..forked import Forked

SCALING = PercentileScaling()


@pytest.fixture
def folder(tmp_path):
    """An empty cache folder."""
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch):
    """Paths of the images and masks that were decoded, in order."""
    paths = []

    def counted(read):
        return lambda path, *args: paths.append(str(path)) or read(path, *args)

    monkeypatch.setattr(cache_module, "read_scaled", counted(cache_module.read_scaled))
    monkeypatch.setattr(cache_module, "read_mask", counted(cache_module.read_mask))
    return paths


def test_cached_pixels_and_masks_are_those_of_the_files(tiny_cohort, folder):
    entries = cache_cohort(tiny_cohort, ["DAPI", "CD4"], SCALING, folder)
    assert [e.field for e in entries] == tiny_cohort.table.field.tolist()
    for entry, row in zip(entries, tiny_cohort.table.itertuples(), strict=True):
        with open_field(row.image) as field:
            planes = [SCALING(field.read(c)) for c in ("DAPI", "CD4")]
        np.testing.assert_array_equal(entry.open_pixels(), planes)
        np.testing.assert_array_equal(entry.open_mask(), read_mask(row.mask))
        assert entry.shape == (96, 128) and entry.open_pixels().dtype == np.float32
        assert entry.open_mask().dtype == np.uint8


def test_cached_arrays_are_memory_mapped_and_read_only(tiny_cohort, folder):
    entry = cache_cohort(tiny_cohort, ["DAPI"], SCALING, folder)[0]
    assert isinstance(entry.open_pixels(), np.memmap) and isinstance(entry.open_mask(), np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        entry.open_pixels()[:] = 0


def test_a_field_is_decoded_once(tiny_cohort, folder, reads):
    first = cache_cohort(tiny_cohort, ["DAPI"], SCALING, folder)
    assert sorted(reads) == sorted([*tiny_cohort.table.image, *tiny_cohort.table["mask"]])
    assert cache_cohort(tiny_cohort, ["DAPI"], SCALING, folder) == first and len(reads) == 14


def test_other_channels_or_scaling_decode_the_image_again_but_not_its_mask(two_fields, folder, reads):
    cache_cohort(two_fields, ["DAPI"], SCALING, folder)
    reads.clear()
    cache_cohort(two_fields, ["DAPI"], PercentileScaling(5, 95), folder)
    cache_cohort(two_fields, ["0"], SCALING, folder)
    assert sorted(reads) == sorted([*two_fields.table.image] * 2)


def test_a_touched_file_is_decoded_again(two_fields, folder, reads):
    cache_cohort(two_fields, ["DAPI"], SCALING, folder)
    reads.clear()
    changed = two_fields.table["mask"][0]
    os.utime(changed, ns=(1, 1_000_000_000))
    cache_cohort(two_fields, ["DAPI"], SCALING, folder)
    assert reads == [changed]


def test_file_of_another_size_with_the_old_time_is_decoded_again(two_fields, folder):
    image = Path(two_fields.table.image[0])
    before, stat = cache_cohort(two_fields, ["DAPI"], SCALING, folder)[0], image.stat()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(image)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = cache_cohort(two_fields, ["DAPI"], SCALING, folder)[0]
    assert image.stat().st_mtime_ns == stat.st_mtime_ns and image.stat().st_size != stat.st_size
    assert not np.array_equal(before.open_pixels(), after.open_pixels())


def test_a_field_without_a_mask_is_cached_without_one(two_fields, folder):
    two_fields.table["mask"] = ""
    assert [e.mask for e in cache_cohort(two_fields, ["DAPI"], SCALING, folder)] == ["", ""]
    assert len(list(folder.iterdir())) == 2


def test_cache_folder_is_set_by_the_variable(two_fields, monkeypatch, tmp_path):
    monkeypatch.setenv("DEDL_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine" / "fields"
    assert cache_cohort(two_fields, ["DAPI"], SCALING)[0].pixels.startswith(str(cache_folder()))


def test_failed_decoding_leaves_no_file(two_fields, folder, monkeypatch):
    def fail(*_args):
        raise OSError("the drive went away")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="went away"):
        cache_cohort(two_fields, ["DAPI"], SCALING, folder)
    assert list(folder.iterdir()) == []


def repeated(cohort, n):
    """Return a cohort of n fields that share the first field's image and mask."""
    table = cohort.table.loc[[0] * n].reset_index(drop=True)
    return Cohort(table.assign(field=[f"f{i}" for i in range(n)]), cohort.root, "manifest")


def test_fields_may_share_an_image_and_a_mask(two_fields, folder, monkeypatch):
    """Threads that decode the same file write the same entry and must not interfere with each other."""
    together = threading.Barrier(2)

    def save(file, array, save=np.save):
        with suppress(threading.BrokenBarrierError):
            together.wait(0.2)  # both threads are writing, unless the cache allows only one at a time
        save(file, array)

    monkeypatch.setattr(np, "save", save)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    entries = cache_cohort(repeated(two_fields, 2), ["DAPI"], SCALING, folder)
    assert len({(e.pixels, e.mask) for e in entries}) == 1
    assert sorted(str(p) for p in folder.iterdir()) == sorted([entries[0].pixels, entries[0].mask])


def test_threads_read_headers_one_at_a_time(two_fields, folder, monkeypatch):
    """numpy parses headers with `ast`, which is not thread-safe in Python up to 3.11.7 (gh-106905)."""
    cohort, loading, most = repeated(two_fields, 8), [], []
    cache_cohort(cohort, ["DAPI"], SCALING, folder)

    def load(*args, load=np.load, **options):
        loading.append(1)
        most.append(len(loading))
        time.sleep(0.005)
        result = load(*args, **options)
        loading.pop()
        return result

    monkeypatch.setattr(np, "load", load)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    cache_cohort(cohort, ["DAPI"], SCALING, folder)
    assert len(most) == 16 and max(most) == 1


def cache_manifest(manifest, folder):
    cache_cohort(Cohort.load(manifest), ["DAPI"], SCALING, folder)


def test_two_processes_at_once_write_one_valid_file_per_image_and_mask(tiny_cohort, folder, tmp_path):
    manifest = tiny_cohort.save(tmp_path / "cohort.csv")
    running = [Forked(cache_manifest, manifest, folder) for _ in range(2)]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert len(list(folder.iterdir())) == 14 and all(p.suffix == ".npy" for p in folder.iterdir())
    entries = cache_cohort(Cohort.load(manifest), ["DAPI"], SCALING, folder)
    fresh = cache_cohort(tiny_cohort, ["DAPI"], SCALING, tmp_path / "fresh")
    for entry, expected in zip(entries, fresh, strict=True):
        np.testing.assert_array_equal(entry.open_pixels(), expected.open_pixels())
