"""What the commands `seg` and `clf` share: start or resume a run, in one process or in several."""

import dataclasses
import logging
import os
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..errors import UserError
from ..runs.options.base import flag_of
from ..runs.options.training import TrainOptions
from .command import print_error

T = TypeVar("T", bound=TrainOptions)

OutOption = Annotated[str, typer.Option("--out", help="Folder of the run (default: runs/<task>-<time>).")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue the unfinished run in --out, with its own options.")
]


def run_training(
    task: str,
    options_class: type[T],
    given: Mapping[str, Any],
    *,
    out: str,
    resume: bool,
    train: Callable[[T, Path], str],
    multi_process: bool = False,  # whether the task can be trained on several processes
) -> None:
    """Train with the given options and print the table that `train` returns."""
    with _as_one_command(task, options_class, multi_process):
        from ..io.locks import alone_in
        from ..runs.lifecycle import start_run
        from ..training.processes.group import from_first, is_first

        options, folder = from_first(lambda: start_run(task, options_class, given, out=out, resume=resume))
        try:
            with alone_in(folder) if is_first() else nullcontext():
                table = train(options, folder)
        except KeyboardInterrupt:
            if is_first():
                typer.echo(f"\nstopped. To continue: dedl-fastai {task} --out {folder} --resume", err=True)
            raise typer.Exit(130) from None
        except RuntimeError as e:
            if type(e).__name__ != "OutOfMemoryError":
                raise
            raise UserError(f"the GPU's memory is too small for a batch of {options.bs}: use a smaller `bs`.") from e
        if is_first():
            typer.echo(f"{table}\n\nrun folder: {folder}")


def run_on_processes(
    n: int, task: str, options_class: type[TrainOptions], *, given: Mapping[str, Any], out: str, resume: bool
) -> None:
    """Run the same command in `n` processes with torchrun's launcher; end as the first process that fails."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from ..training.processes.group import on_this_machine

    if _started_by_torchrun():
        raise UserError("torchrun has started the processes already: leave `nproc` out.")
    quiet = logging.getLogger("dedl_fastai").getEffectiveLevel() > logging.INFO
    command = ["-m", "dedl_fastai.cli", *(["--quiet"] if quiet else []), task, *_as_flags(options_class, given)]
    command += [*(["--out", out] if out else []), *(["--resume"] if resume else [])]
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // n)))  # or waiting threads slow others
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the process that fails says why
    try:
        with tempfile.TemporaryDirectory(prefix="dedl-group-") as private:
            os.environ |= on_this_machine(private)
            config = LaunchConfig(
                *(1, 1, n),
                run_id=uuid.uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint=f"{private}/start",
                rdzv_configs={"store_type": "file"},
                local_addr="127.0.0.1",
                max_restarts=0,
            )
            elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as e:
        number, failure = e.get_first_failure()
        if failure.exitcode < 0:
            raise UserError(f"process {number} was ended by signal {-failure.exitcode}.") from e
        raise typer.Exit(failure.exitcode) from None
    except SignalException as e:
        raise typer.Exit(128 + e.sigval) from None


def _as_flags(options_class: type[TrainOptions], given: Mapping[str, Any]) -> list[str]:
    """Return the given options as a command line."""
    flags: list[str] = []
    for f in dataclasses.fields(options_class):
        if f.name in given:
            flag, value = flag_of(f), given[f.name]
            values = value if isinstance(value, tuple) else (value,)
            flags += [flag if value else f"--no-{flag[2:]}"] if f.type is bool else [f"{flag}={v}" for v in values]
    return flags


def _started_by_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def _as_one_command(task: str, options_class: type[TrainOptions], multi_process: bool) -> Iterator[None]:
    """Let the processes that torchrun started act as one: the first prints, and the first that fails says why.

    A process that failed ends at once: the others wait for it in a collective call, and the process group cannot be
    closed while they wait. torchrun then ends them.
    """
    if not _started_by_torchrun():
        yield
        return
    from ..training.processes.group import close_group, fails_first, is_first, open_group

    try:
        open_group()
        if not is_first():
            logging.getLogger("dedl_fastai").setLevel(logging.CRITICAL)
        if not multi_process:
            raise UserError(f"{task} trains in one process: start it without torchrun.")
        yield
    except BaseException as e:
        code = _exit_code(e)
        if code != 130 and fails_first():
            if isinstance(e, UserError):
                flags = {f.name: flag_of(f) for f in dataclasses.fields(options_class)}
                print_error(e, {**flags, "out": "--out", "resume": "--resume"})
            else:
                traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    close_group()


def _exit_code(error: BaseException) -> int:
    if isinstance(error, typer.Exit):
        return error.exit_code
    return 2 if isinstance(error, UserError) else 130 if isinstance(error, KeyboardInterrupt) else 1
