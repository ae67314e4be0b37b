"""A short run of the damaged files of `mutants`: no reader raises anything but a `UserError` of one line."""

import pytest

from .mutants import FORMATS, try_format

FEW = 64


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, name):
    counts, faults = try_format(name, FEW, tmp_path)
    assert not faults
    assert sum(counts.values()) == FEW and counts["refused"]
