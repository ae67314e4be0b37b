"""A short run of the damaged files of `mutants`: no reader raises anything but a `UserError` of one line."""

import pytest

from .formats import FORMATS
from .mutants import try_format

FEW = 64


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, name):
    counts, faults = try_format(name, FEW, tmp_path)
    assert not faults
    assert counts.total() == 2 * FEW == 2 * counts["tried"] and counts["refused"]
