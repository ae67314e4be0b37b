"""Text files as people save them: UTF-8, UTF-16 or Latin-1, with any line ends; binary files are refused."""

import codecs
from pathlib import Path

from ..errors import UserError
from .files import existing_file

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: str | Path) -> str:
    r"""Return the text of a file with "\n" as line ends.

    UTF-16 is recognised by its first bytes; what is not UTF-8 is Latin-1. Raises `UserError` for binary data.
    """
    path = existing_file(path)
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-16" if raw.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as e:
        if raw.startswith(_UTF_16):
            raise UserError(f"{path} is cut short or is not a text file ({e.reason}): save it again.") from e
        text = raw.decode("latin-1")  # German and French installations of inForm write µ and é this way
    if "\0" in text:
        raise UserError(f"{path} is not a text file: it contains binary data.")
    return text.replace("\r\n", "\n").replace("\r", "\n")
