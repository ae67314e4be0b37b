"""Starting or continuing a run: which options hold, and in which folder."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UserError
from ..training.run_folder import RunFolder
from .inputs import with_demo_data
from .options import Options

T = TypeVar("T", bound=Options)


def start_run(task: str, kind: type[T], given: Mapping[str, Any], out: str, resume: bool) -> tuple[T, Path]:
    """Options and folder of a new run, or of the one in `out` that goes on.

    Raises `UserError` if the folder is in use and `resume` was not asked for, if there is nothing to resume, or if
    options are given that differ from those the run was started with.
    """
    if resume and not out:
        raise UserError("--resume needs the run folder: --out RUN --resume.")
    run = RunFolder.at(out or f"runs/{task}-{time.strftime('%Y%m%d-%H%M%S')}")
    if resume:
        return _continued(run, kind, given), run.path
    if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
        hint = "--resume goes on with it, or choose another --out" if run.is_started else "choose another --out"
        raise UserError(f"{run.path} is in use: {hint}.")
    return kind.resolve(with_demo_data(dict(given), task)), run.path


def _continued(run: RunFolder, kind: type[T], given: Mapping[str, Any]) -> T:
    if not run.is_started:
        raise UserError(f"{run.path} holds no run to resume: leave --resume out to start one.")
    options = kind.from_dict(run.read("config"))
    if given.get("data"):
        given = {**given, "data": str(Path(given["data"]).expanduser().resolve())}
    different = options.differences(given)
    if different:
        name, (here, there) = next(iter(different.items()))
        raise UserError(
            f"{run.path} was started with {name} = {here!r}, not {there!r}: a run goes on with its own options. "
            f"Leave it out, or start a new run."
        )
    return options
