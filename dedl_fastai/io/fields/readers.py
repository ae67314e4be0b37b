"""`open_field`: opens an image file with the reader of its format. A new reader is added here."""

from pathlib import Path

from ...errors import UserError
from ..files import existing_file
from .field import Field
from .picture_field import PictureField
from .tiff_field import TiffField
from .zarr_field import ZarrField, is_url, is_zarr


def open_field(
    path: str | Path,
    pixel_size_um: float | None = None,  # used if the file does not contain a pixel size
) -> Field:
    """Open an image file as a `Field`.

    Formats: inForm component TIFF, QPTIFF, OME-TIFF, ImageJ hyperstack, plain TIFF (pages or RGB), PNG, JPEG, of 8, 16
    or 32 bits; OME-Zarr folders, and URLs of them that fsspec opens (s3://, https://). The format is detected from the
    content, not from the file name. Raises `UserError` for other files, for files that are damaged or cut short, and
    for images with a time or z axis.
    """
    field = _opened(path)
    if pixel_size_um and not field.pixel_size_um:
        field.pixel_size_um, field.pixel_size_from = pixel_size_um, "option"
    return field


def _opened(path: str | Path) -> Field:
    if is_url(path):
        return ZarrField.open(path)
    if is_zarr(Path(path)):
        return ZarrField.open(Path(path))
    path = existing_file(path)
    with path.open("rb") as f:
        magic = f.read(8)
    if magic[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return TiffField.open(path)
    if magic[:8] == b"\x89PNG\r\n\x1a\n" or magic[:3] == b"\xff\xd8\xff":
        return PictureField.open(path)
    raise UserError(f"{path} is not an image in a supported format (TIFF, PNG, JPEG): it starts with {magic!r}.")
