"""Outlines of cells as a zip of ImageJ ROIs, for the ROI Manager of ImageJ and Fiji. Needs the extra "imagej"."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..extras import optional
from .files import written_whole

ROIS = ("roifile", "imagej", "ImageJ ROIs")  # the arguments of `optional`
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the time stamp of every entry, so that the same input gives the same bytes
_MAX_COORDINATE = 32767  # the bounding box of an ROI is stored in signed 16-bit integers


def check_fits_rois(path: str | Path, shape: tuple[int, int]) -> None:
    """Raise a `UserError` if a field of shape (H, W) has pixels beyond the largest coordinate of an ImageJ ROI."""
    if max(shape) > _MAX_COORDINATE:
        raise UserError(
            f"{path} has {shape[1]} x {shape[0]} pixels; ImageJ ROIs end at pixel {_MAX_COORDINATE}: use geojson."
        )


def write_imagej_rois(
    path: str | Path,  # ends in .zip, by which ImageJ recognises a set of ROIs
    polygons: Iterable[tuple[int, np.ndarray]],  # (label, outline) as from `cell_polygons`, consumed one by one
) -> int:
    """Write one sub-pixel polygon ROI per cell, named by its label, and return the number of ROIs."""
    roifile = optional(*ROIS)
    if Path(path).suffix.lower() != ".zip":
        raise UserError(f"{path}: the file name of a set of ImageJ ROIs must end in .zip.")
    n = 0
    with written_whole(path) as tmp, zipfile.ZipFile(tmp, "w", zipfile.ZIP_DEFLATED) as archive:
        for label, points in polygons:
            xy = np.asarray(points, dtype=np.float32)[:, ::-1]
            if (xy[0] == xy[-1]).all():
                xy = xy[:-1]  # ImageJ closes a polygon itself
            if not (np.abs(xy) <= _MAX_COORDINATE).all():
                raise UserError(
                    f"{path}: cell {label} extends beyond pixel {_MAX_COORDINATE}, where ImageJ ROIs end: use GeoJSON."
                )
            roi = roifile.ImagejRoi.frompoints(xy, name=str(label))
            roi.roitype = roifile.ROI_TYPE.POLYGON
            archive.writestr(zipfile.ZipInfo(f"{label:07d}.roi", _EPOCH), roi.tobytes(), zipfile.ZIP_DEFLATED)
            n += 1
    return n
