"""Outlines of cells as a zip of ImageJ ROIs, for the ROI Manager of ImageJ and Fiji. Needs the extra "imagej"."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..extras import optional
from .files import written_whole

ROIS = ("roifile", "imagej", "ImageJ ROIs")  # what `optional` asks for
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every entry: same input, same bytes
_MAX_COORDINATE = 32767  # an ROI's bounding box is stored in signed 16 bits


def check_fits_rois(path: str | Path, shape: tuple[int, int]) -> None:
    """`UserError` for a field (H, W) that is larger than ImageJ's ROIs reach."""
    if max(shape) > _MAX_COORDINATE:
        raise UserError(f"{path} is {shape[1]} x {shape[0]}: ImageJ ROIs end at pixel {_MAX_COORDINATE}, use geojson.")


def write_imagej_rois(
    path: str | Path,  # ends in .zip: ImageJ goes by the name
    polygons: Iterable[tuple[int, np.ndarray]],  # (label, outline) as of `cell_polygons`, taken one by one
) -> int:
    """Write one polygon ROI a cell, named by its label, to sub-pixel precision; returns how many."""
    roifile = optional(*ROIS)
    if Path(path).suffix.lower() != ".zip":
        raise UserError(f"{path}: a set of ImageJ ROIs is a .zip file: name it so.")
    n = 0
    with written_whole(path) as tmp, zipfile.ZipFile(tmp, "w", zipfile.ZIP_DEFLATED) as archive:
        for label, points in polygons:
            xy = np.asarray(points, dtype=np.float32)[:, ::-1]
            if (xy[0] == xy[-1]).all():
                xy = xy[:-1]  # ImageJ closes a polygon itself
            if not (np.abs(xy) <= _MAX_COORDINATE).all():
                raise UserError(
                    f"{path}: cell {label} lies beyond pixel {_MAX_COORDINATE}, where ImageJ ROIs end: use GeoJSON."
                )
            roi = roifile.ImagejRoi.frompoints(xy, name=str(label))
            roi.roitype = roifile.ROI_TYPE.POLYGON
            archive.writestr(zipfile.ZipInfo(f"{label:07d}.roi", _EPOCH), roi.tobytes(), zipfile.ZIP_DEFLATED)
            n += 1
    return n
