"""PNG and JPEG files as fields with the channel grey, or the channels red, green and blue."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import UserError
from ..limits import check_pixels
from .field import Field
from .jpeg_damage import fault_of_picture
from .rgb import RGB, RGB_COLORS


class PictureField(Field):
    """A PNG or JPEG picture. The first read decodes it as a whole, because these formats cannot be read by region."""

    _pixels: np.ndarray | None = None

    @classmethod
    def open(cls, path: Path) -> "PictureField":
        """Read the header; grey pictures get the channel 'grey', others 'red', 'green', 'blue'."""
        with _opened(path) as image:
            grey = image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")
            names, colors = (("grey",), None) if grey else (RGB, RGB_COLORS)
            return cls(path, (image.format or "").lower(), names, (image.height, image.width), colors=colors)

    def _read(self, index: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        if self._pixels is None:
            self._pixels = _decode(self.path)
        return self._pixels[y0:y1, x0:x1, index]

    def close(self) -> None:
        """Drop the decoded picture."""
        self._pixels = None


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, ValueError, SyntaxError) as e:
        raise UserError(f"{path} is not a readable picture ({e}): copy or export it again.") from e
    except Image.DecompressionBombError as e:
        raise UserError(f"{path} is too large for PNG or JPEG ({e}): save it as a tiled TIFF.") from e


def _decode(path: Path) -> np.ndarray:
    with _opened(path) as image:
        check_pixels(path, image.height, image.width)
        is_jpeg = image.format == "JPEG"
        try:
            image.verify()  # a PNG's checksums and its last chunk, which decoding ignores
        except (OSError, ValueError, SyntaxError, LookupError) as e:  # LookupError: a PNG without pixels
            raise _damaged(path, e) from e
    raw = path.read_bytes()
    try:
        pixels = _pixels(raw)
    except (OSError, ValueError, SyntaxError) as e:
        raise _damaged(path, e) from e
    fault = fault_of_picture(raw, pixels, _pixels) if is_jpeg else ""
    if fault:
        raise _damaged(path, fault)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _pixels(raw: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(raw)) as opened:
        image: Image.Image = opened
        if image.mode == "LA":
            image = image.convert("L")
        elif image.mode not in ("1", "L", "F", "RGB") and not image.mode.startswith("I"):
            image = image.convert("RGB")
        return np.asarray(image)


def _damaged(path: Path, e: Exception | str) -> UserError:
    return UserError(f"{path} is damaged or cut short ({e}): copy or export it again.")
