"""Figures in tests: most are made but not drawn, which takes longer than the training of a tiny run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

_SAVEFIG = Figure.savefig


def _save_blank(figure: Figure, file: Any, **options: Any) -> None:
    Image.new("L", (1, 1)).save(file, format=options["format"])


@contextmanager
def blank_figures() -> Iterator[None]:
    """Figures are files of one pixel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _save_blank)
        yield


@contextmanager
def drawn_figures() -> Iterator[None]:
    """Figures are drawn, inside `blank_figures` too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _SAVEFIG)
        yield
