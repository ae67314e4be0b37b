"""`draw_overlay`: the nuclear channel in grey, outlines of nuclei coloured by phenotype, a legend and a scale bar."""

import colorsys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import block_reduce
from skimage.segmentation import find_boundaries

from ..io.fields.field import Field
from ..phenotypes.classify import OTHER

Color = tuple[int, int, int]
# after Okabe and Ito: distinct from grey and from each other, also for colour-blind readers
_PALETTE = ((230, 159, 0), (86, 180, 233), (0, 200, 130), (240, 228, 66), (213, 94, 0), (221, 130, 180), (60, 120, 255))
NO_RULES, NO_CLASS, REST = (255, 190, 40), (245, 245, 245), (170, 130, 225)
_SMALL = 1000  # pictures with a shorter longest edge are enlarged, so that outlines do not hide the nuclei
_REGION = 2048  # edge in pixels of the regions that are read
_GAMMA = 0.7  # below 1, so that dim nuclei are visible


def class_colors(names: Sequence[str]) -> dict[str, Color]:
    """Return a colour for each phenotype, in the order of the rules; the remainder class is a dull violet."""
    ruled = [n for n in names if n != OTHER]
    more = [_rgb((i * 0.618) % 1) for i in range(len(ruled))]  # golden ratio: consecutive hues always differ
    return dict(zip(ruled, [*_PALETTE, *more], strict=False)) | ({OTHER: REST} if OTHER in names else {})


def _rgb(hue: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.6, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_overlay(
    field: Field,
    channel: int,  # index of the channel that is shown in grey
    labels: Any,  # (H, W), only sliced
    cells: pd.DataFrame,  # with label and, if there are rules, phenotype
    colors: Mapping[str, Color],
    longest: int = 2000,  # largest length of the picture's longer edge, in pixels
) -> Image.Image:
    """Draw the overlay. Large fields are shrunk n times: the channel by means, the labels by every n-th pixel."""
    step = -(-max(field.shape) // longest)
    grey = _contrasted(_shrunk_channel(field, channel, step))
    ids = _shrunk_labels(labels, step)
    times = min(longest, _SMALL) // max(grey.shape)
    if times > 1:
        size = (grey.shape[1] * times, grey.shape[0] * times)
        grey = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
        ids = np.kron(ids, np.ones((times, times), ids.dtype))
    picture = np.repeat(grey[..., None], 3, axis=2)
    rim = find_boundaries(ids, mode="inner")
    picture[rim] = _label_colors(cells, colors, int(ids.max(initial=0)))[ids[rim]]
    um_per_px = (field.pixel_size_um or 0) * step / max(times, 1)
    return _with_legend(Image.fromarray(picture), cells, colors, um_per_px)


def _regions(shape: Sequence[int], step: int) -> list[tuple[slice, slice]]:
    """Regions that cover a field; their edges are multiples of `step`."""
    edge = max(1, _REGION // step) * step
    rows, columns = ([slice(start, min(start + edge, length)) for start in range(0, length, edge)] for length in shape)
    return [(r, c) for r in rows for c in columns]


def _shrunk_channel(field: Field, channel: int, step: int) -> np.ndarray:
    """Means of step x step pixels as float32; the file is read region by region."""
    small = np.zeros([-(-n // step) for n in field.shape], np.float32)
    for rows, columns in _regions(field.shape, step):
        block = field.read(channel, y0=rows.start, y1=rows.stop, x0=columns.start, x1=columns.stop)
        padding = [(0, -n % step) for n in block.shape]
        mean = block_reduce(np.pad(block, padding, mode="edge"), (step, step), np.mean) if step > 1 else block
        y, x = rows.start // step, columns.start // step
        small[y : y + mean.shape[0], x : x + mean.shape[1]] = mean
    return small


def _shrunk_labels(labels: Any, step: int) -> np.ndarray:
    """Every step-th pixel of each axis, read region by region."""
    small = np.zeros([-(-n // step) for n in labels.shape], np.int64)
    for rows, columns in _regions(labels.shape, step):
        part = np.asarray(labels[rows, columns])[::step, ::step]
        y, x = rows.start // step, columns.start // step
        small[y : y + part.shape[0], x : x + part.shape[1]] = part
    return small


def _contrasted(plane: np.ndarray) -> np.ndarray:
    """Scale the 1st to the 99.8th percentile to 0..255, as uint8."""
    low, high = np.nanpercentile(plane, [1, 99.8])
    scaled = np.clip((np.nan_to_num(plane) - low) / max(high - low, 1e-9), 0, 1)
    return np.round(255 * scaled**_GAMMA).astype(np.uint8)


def _label_colors(cells: pd.DataFrame, colors: Mapping[str, Color], highest: int) -> np.ndarray:
    """Return the colour of each label as uint8 (highest + 1, 3)."""
    table = np.tile(np.array(NO_CLASS if "phenotype" in cells else NO_RULES, np.uint8), (highest + 1, 1))
    if "phenotype" in cells:
        shown = cells[(cells["label"] <= highest) & cells["phenotype"].isin(list(colors))]
        if len(shown):
            table[shown["label"].to_numpy()] = np.array([colors[p] for p in shown["phenotype"]], np.uint8)
    return table


def _with_legend(
    picture: Image.Image, cells: pd.DataFrame, colors: Mapping[str, Color], um_per_px: float
) -> Image.Image:
    """Add a strip below the picture, with the count of each class and, if the pixel size is known, a scale bar."""
    size = max(12, round(picture.width / 70))
    lines = _wrapped(_legend_entries(cells, colors), size, picture.width - 12 * size)
    strip = Image.new("RGB", (picture.width, round(size * (0.8 + 1.6 * len(lines)))), (16, 16, 16))
    draw = ImageDraw.Draw(strip)
    for row, line in enumerate(lines):
        y = size * (0.6 + 1.6 * row)
        for x, (text, color) in line:
            draw.rectangle((x, y, x + size, y + size), fill=color)
            draw.text((x + 1.5 * size, y + size / 2), text, fill=(230, 230, 230), font=_font(size), anchor="lm")
    if um_per_px:
        _scale_bar(draw, strip.width, size, um_per_px)
    whole = Image.new("RGB", (picture.width, picture.height + strip.height))
    whole.paste(picture, (0, 0))
    whole.paste(strip, (0, picture.height))
    return whole


def _legend_entries(cells: pd.DataFrame, colors: Mapping[str, Color]) -> list[tuple[str, Color]]:
    if "phenotype" not in cells:
        return [(f"nuclei ({len(cells)})", NO_RULES)]
    counts = cells["phenotype"].value_counts()
    without = int(cells["phenotype"].isna().sum())
    entries = [(f"{name} ({counts.get(name, 0)})", color) for name, color in colors.items()]
    return entries + ([(f"no class ({without})", NO_CLASS)] if without else [])


def _wrapped(entries: list[tuple[str, Color]], size: int, width: float) -> list[list[tuple[float, tuple[str, Color]]]]:
    """Arrange the entries in lines of (x, entry) that are no wider than `width`."""
    lines: list[list[tuple[float, tuple[str, Color]]]] = [[]]
    x = float(size)
    for entry in entries:
        needed = _font(size).getlength(entry[0]) + 3 * size
        if lines[-1] and x + needed > width:
            lines.append([])
            x = float(size)
        lines[-1].append((x, entry))
        x += needed
    return lines


def _scale_bar(draw: ImageDraw.ImageDraw, width: int, size: int, um_per_px: float) -> None:
    """Draw a bar of a round length on the right, at most 6 letters wide, with its length next to it."""
    most = 6 * size * um_per_px
    unit = 10.0 ** np.floor(np.log10(most))
    length = max(unit * f for f in (1, 2, 5) if unit * f <= most)
    right, y = width - size, size * 1.1
    left = right - length / um_per_px
    draw.rectangle((left, y - size / 8, right, y + size / 8), fill=(255, 255, 255))
    draw.text((left - size / 2, y), f"{length:g} µm", fill=(230, 230, 230), font=_font(size), anchor="rm")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which is part of matplotlib: the text looks the same on every machine."""
    matplotlib = find_spec("matplotlib")  # found and not imported, which would take a second
    assert matplotlib and matplotlib.origin
    return ImageFont.truetype(Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)
