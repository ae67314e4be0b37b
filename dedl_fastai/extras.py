"""Packages that only some users need: imported when they are used, and named with their extra when they are missing."""

import importlib
from types import ModuleType

from .errors import UserError


def optional(module: str, extra: str, what: str) -> ModuleType:
    """The module, or a `UserError`: `what` (a plural) needs the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise UserError(f'{what} need the extra "{extra}": pip install "dedl-fastai[{extra}]".') from e
