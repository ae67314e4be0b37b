"""Fixtures for the tests of readers: synthetic planes, their component TIFF, and a record of decoded segments."""

import numpy as np
import pytest
import tifffile

from dedl_fastai.io import write_component_tiff

NAMES = ("CK (Opal 690)", "CD8 (Opal 540)", "DAPI", "CD68 (Opal 620)", "Autofluorescence")
COLORS = ((0, 255, 255), (255, 255, 0), (0, 0, 255), (255, 0, 255), (10, 20, 30))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def planes(rng):
    """Five channels of 52 x 68 in inForm's range, 0 to about 100, as float32."""
    return {n: (rng.gamma(1.0, 8.0, (52, 68)) * (i + 1)).astype(np.float32) for i, n in enumerate(NAMES)}


@pytest.fixture
def thumbnail(rng):
    return rng.integers(0, 255, (13, 17, 3)).astype(np.uint8)


@pytest.fixture
def component(tmp_path, planes, thumbnail):
    """A component TIFF of `planes` at 0.4971 um, at (12345.5, 6789.25) on the stage."""
    path = tmp_path / "P1_[12345,6789]_component_data.tif"
    write_component_tiff(
        path,
        planes,
        colors=COLORS,
        thumbnail=thumbnail,
        pixel_size_um=0.4971,
        origin_um=(12345.5, 6789.25),
        slide_id="P1 & co",
    )
    return path


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of the segments decoded since the last `clear()`, one entry per strip or tile."""
    calls = []
    original = tifffile.TiffPage.decode.func

    def counting(page):
        decode = original(page)

        def counted(data, index, **kwargs):
            calls.append(index)
            return decode(data, index, **kwargs)

        return counted

    monkeypatch.setattr(tifffile.TiffPage, "decode", property(counting))
    return calls
