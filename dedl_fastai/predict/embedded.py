"""Pictures inside a page: figures and images as data URIs, so that the page is one file that loads nothing."""

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def data_uri(image_format: str, raw: bytes) -> str:
    """The bytes of a picture as the source of an <img>."""
    return f"data:image/{image_format};base64,{base64.b64encode(raw).decode('ascii')}"


def figure_uri(figure: "Figure") -> str:
    """A figure as the source of an <img>."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return data_uri("png", buffer.getvalue())


def picture_uri(picture: np.ndarray) -> str:
    """A uint8 picture (H, W, 3) as the source of an <img>."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return data_uri("png", buffer.getvalue())
