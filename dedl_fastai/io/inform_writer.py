"""Component TIFFs as inForm writes them, and label and mask TIFFs. The same input gives the same bytes."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import tifffile

from .files import written_whole

_COMPONENT_XML = """<?xml version="1.0" encoding="utf-16"?>
<PerkinElmer-QPI-ImageDescription>
  <DescriptionVersion>2</DescriptionVersion>
  <AcquisitionSoftware>{software}</AcquisitionSoftware>
  <ImageType>{image_type}</ImageType>
  <SlideID>{slide}</SlideID>
  <IsUnmixedComponent>{unmixed}</IsUnmixedComponent>
{channel}</PerkinElmer-QPI-ImageDescription>"""


def write_component_tiff(
    path: str | Path,
    planes: Mapping[str, np.ndarray],  # channel name -> (H, W) float32, in page order
    colors: Sequence[tuple[int, int, int]],  # display colour of each channel
    thumbnail: np.ndarray,  # uint8 (h, w, 3); in inForm a quarter of the height and width
    pixel_size_um: float,
    origin_um: tuple[float, float] = (0.0, 0.0),  # stage position (x, y) of the upper left corner
    slide_id: str = "",
    software: str = "dedl_fastai",
) -> None:
    """Write a component TIFF as inForm does: float32 LZW pages in strips of 16 rows, then an RGB thumbnail page."""
    position = [(tag, 5, 1, _rational(um / 1e4), True) for tag, um in zip((286, 287), origin_um, strict=True)]
    with written_whole(path) as tmp, tifffile.TiffWriter(tmp, byteorder="<") as tif:
        for (name, pixels), (r, g, b) in zip(planes.items(), colors, strict=True):
            channel = f"  <Name>{escape(name)}</Name>\n  <Color>{r},{g},{b}</Color>\n"
            _write_page(
                tif,
                np.asarray(pixels, dtype=np.float32),
                photometric="minisblack",
                description=_component_xml(
                    software, image_type="FullResolution", slide=slide_id, unmixed=True, channel=channel
                ),
                pixel_size_um=pixel_size_um,
                position=position,
            )
        scale = next(iter(planes.values())).shape[0] / thumbnail.shape[0]
        _write_page(
            tif,
            thumbnail,
            photometric="rgb",
            description=_component_xml(software, image_type="Thumbnail", slide=slide_id, unmixed=False, channel=""),
            pixel_size_um=pixel_size_um * scale,
            position=position,
        )


def _write_page(
    tif: tifffile.TiffWriter,
    pixels: np.ndarray,
    *,
    photometric: str,
    description: bytes,
    pixel_size_um: float,
    position: list[tuple[int, int, int, Any, bool]],  # XPosition and YPosition as extra tags of tifffile
) -> None:
    tif.write(
        pixels,
        photometric=photometric,
        description=description,
        resolution=(1e4 / pixel_size_um,) * 2,
        resolutionunit="CENTIMETER",
        extratags=position,
        software="PerkinElmer-QPI",
        metadata=None,
        compression="lzw",
        rowsperstrip=16,
    )


def _component_xml(software: str, image_type: str, slide: str, unmixed: bool, channel: str) -> bytes:
    xml = _COMPONENT_XML.format(
        software=escape(software), image_type=image_type, slide=escape(slide), unmixed=unmixed, channel=channel
    )
    return xml.replace("\n", "\r\n").encode("utf-8")  # inForm also declares utf-16 but stores 8 bits


def _rational(value: float) -> tuple[int, int]:
    f = Fraction(value).limit_denominator(1_000_000)
    return f.numerator, f.denominator


def write_label_tiff(path: str | Path, labels: np.ndarray, pixel_size_um: float | None = None) -> None:
    """Write masks or labels (H, W) of an unsigned integer type as a one-page LZW TIFF that ImageJ opens."""
    with written_whole(path) as tmp:
        tifffile.imwrite(
            tmp,
            labels,
            photometric="minisblack",
            compression="lzw",
            metadata=None,
            resolution=(1e4 / pixel_size_um,) * 2 if pixel_size_um else None,
            resolutionunit="CENTIMETER" if pixel_size_um else None,
        )
