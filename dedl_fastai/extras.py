"""Optional packages: imported only when they are used; the error for a missing one names the extra to install."""

import importlib
from types import ModuleType

from .errors import UserError


def optional(module: str, extra: str, what: str) -> ModuleType:
    """Import `module`, or raise a `UserError` that says that `what` (a plural) need the extra `extra`."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise UserError(f'{what} need the extra "{extra}": pip install "dedl-fastai[{extra}]".') from e
