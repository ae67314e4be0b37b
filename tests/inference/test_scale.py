"""Scale: fields magnified for the network, predictions in the field's own pixels, and the choice of the scale."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage as ndi

from dedl_fastai.cells.options import NucleiOptions
from dedl_fastai.errors import UserError
from dedl_fastai.inference.options import parse_scale
from dedl_fastai.inference.resampled import ResampledPixels, bands_at_scale
from dedl_fastai.inference.scale import SCALES, Scale, choose_scale, sample_of
from dedl_fastai.inference.window import Band, whole_planes

RNG = np.random.default_rng(0)
PIXELS = RNG.random((2, 37, 53)).astype(np.float32)


@pytest.mark.parametrize("factor", [0.5, 0.6, 1.3, 2.0])
def test_fields_are_resized_as_pillow_does(factor):
    resized = ResampledPixels(PIXELS, factor)
    _, height, width = resized.shape
    assert (height, width) == (round(37 * factor), round(53 * factor))
    for plane, expected in zip(resized[:, 0:height], PIXELS, strict=True):
        by_pillow = np.asarray(Image.fromarray(expected).resize((width, height), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(plane, by_pillow, atol=1e-6)


@pytest.mark.parametrize("factor", [0.5, 1.55, 2.0])
def test_rows_do_not_depend_on_how_they_are_read(factor):
    resized = ResampledPixels(PIXELS, factor)
    height = resized.shape[1]
    pieces = [resized[:, y : min(y + 7, height)] for y in range(0, height, 7)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), resized[:, 0:height])


def identity(rows: int):
    """A model that predicts its first channel, with the second as its map, in bands of `rows`."""

    def bands(pixels):
        for y in range(0, pixels.shape[1], rows):
            part = pixels[:, y : y + rows]
            yield Band(y, part[0], 1 - part[0], part[1:])

    return bands


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.55])
def test_bands_come_back_in_the_pixels_of_the_field(factor):
    bands = list(bands_at_scale(identity(5), PIXELS, factor))
    assert [b.y0 for b in bands] == [0, *np.cumsum([len(b.mean) for b in bands])[:-1].tolist()]
    one = next(bands_at_scale(identity(1000), PIXELS, factor))
    np.testing.assert_array_equal(whole_planes(bands), whole_planes([one]))
    np.testing.assert_allclose(np.concatenate([b.sd for b in bands]), 1 - one.mean, atol=1e-6)
    assert one.mean.shape == PIXELS.shape[1:]
    if factor == 1:
        np.testing.assert_array_equal(one.mean, PIXELS[0])


class SizeBound:
    """A model that finds discs of a radius of 6 pixels, and less of those that are magnified to another size."""

    threshold, separation, pixel_size_um = 0.5, NucleiOptions(min_area_um2=4), None

    def planes(self, field, scale=1.0):
        depth = ndi.distance_transform_edt(field[0] > 0)
        radius = max(depth.max(), 1)
        return (depth > radius * min(0.9, abs(np.log(scale * radius / 6)))).astype(np.float32)[None]


def field_of_discs(radius: float) -> np.ndarray:
    edge = round(16 * radius)
    yy, xx = np.indices((edge, edge)) / (3.2 * radius) % 1 - 0.5
    return (np.hypot(yy, xx) * 3.2 < 1).astype(np.float32)[None]


def test_agreement_finds_the_scale_of_a_field():
    chosen = {r: choose_scale(SizeBound(), [field_of_discs(r)], [None], "auto").factor for r in (4, 6, 10)}
    assert chosen == {4: 1.414, 6: 1.0, 10: 0.707}
    found = choose_scale(SizeBound(), [field_of_discs(6)], [None], "auto")
    assert found.by == "agreement" and len(found.agreement) == len(SCALES) and max(found.agreement) == 1.0


class Recorder(SizeBound):
    """A model that keeps what it sees."""

    def __init__(self):
        self.seen = []

    def planes(self, field, scale=1.0):
        self.seen.append((field, scale))
        return np.zeros((1, *field.shape[1:]), np.float32)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("bright", [(0, 0), (380, 500), (900, 1100)])
def test_each_scale_is_tried_in_as_many_pixels_of_the_network_where_the_field_is_brightest(bright, size):
    field = np.zeros((1, 1000 * size, 1200 * size), np.float32)
    y, x = (size * place for place in bright)
    field[:, y : y + 100 * size, x : x + 100 * size] = 1
    model = Recorder()
    choose_scale(model, [field], [None], "auto")
    assert [scale for _, scale in model.seen] == list(SCALES)
    for part, scale in model.seen:
        assert part.shape[1] == part.shape[2] == pytest.approx(320 / scale, abs=1)
    assert model.seen[0][0].sum() == (100 * size) ** 2


def test_a_field_without_nuclei_stays_as_it_is():
    assert choose_scale(SizeBound(), [np.zeros((1, 64, 64), np.float32)], [None], "auto").factor == 1.0


def test_pixel_sizes_decide_where_both_are_known(caplog):
    model = SizeBound()
    model.pixel_size_um = 0.5
    assert choose_scale(model, [PIXELS], [0.25], "auto") == Scale(0.5, "pixel size")
    assert choose_scale(model, [PIXELS], [0.51], "auto") == Scale(1.0, "pixel size")
    assert choose_scale(model, [field_of_discs(6)], [None], "auto").by == "agreement"


def test_scales_can_be_given():
    assert choose_scale(SizeBound(), [PIXELS], [None], "none") == Scale()
    assert choose_scale(SizeBound(), [PIXELS], [None], "1.5") == Scale(1.5, "given")
    for wrong in ("big", "0", "-1", "nan", "20"):
        with pytest.raises(UserError, match="scale="):
            parse_scale(wrong)


def test_a_sample_is_evenly_spaced():
    assert sample_of(3) == [0, 1, 2] and sample_of(15) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert all(a < b for a, b in pairwise(sample_of(1000))) and sample_of(1000)[-1] == 999
    assert sample_of(0) == []
