"""`carry_out`: one run of a grid, in this process: take its lock, train, write everything into its folder."""

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...io.files import write_json
from ...runs.classification.training import member_options, train_clf
from ...runs.cohort import load_clf_cohort
from ...runs.options.clf import ClfConfig
from ...runs.options.seg import SegConfig
from ...runs.segmentation.training import train_seg
from ...training.run_folder import RunFolder
from ..speed.process import peak_mb
from .locks import held
from .run_spec import DONE, FAILED, LOCKED, RunSpec, note, note_failure, outcome, run_lock, run_state

LOCKED_EXIT = 75  # of a process that found its run taken
_ORPHANED_EXIT = 3


def carry_out(run: RunSpec) -> dict[str, Any]:
    """Train the run unless it is done, has failed or is at work elsewhere; returns its `outcome`.

    An unfinished run goes on where it was. What goes wrong is written to its folder (error.txt, log.txt) and told as
    state "failed", not raised.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    with held(run_lock(run.path)) as is_ours:
        if not is_ours:
            return outcome(run, LOCKED)
        if run_state(run.path) not in (DONE, FAILED):  # it may have been finished before we had the lock
            with _logged(run.log):
                _attempt(run)
        return outcome(run)


def _attempt(run: RunSpec) -> None:
    note(run.path, "start")
    write_json(run.path / "run.json", run.to_dict())
    try:
        cost = _train(run)
    except Exception:  # a run that fails must not end the grid; the reason is kept
        logging.getLogger(__name__).exception("the run failed")
        note_failure(run.path, traceback.format_exc())
    except BaseException:
        note(run.path, "stopped")
        raise
    else:
        write_json(run.path / "cost.json", cost)  # the last file: the run is done
        note(run.path, DONE)


def _train(run: RunSpec) -> dict[str, Any]:
    was_complete = RunFolder.at(run.path).is_complete  # killed just before its cost was written
    if run.task == "seg":
        train_seg(SegConfig.resolve({**run.options, "seed": run.seed}), run.path, bar=False)
    else:
        options = ClfConfig.resolve(run.options)
        cohort = load_clf_cohort(options, run.fold)
        train_clf(member_options(options, run.seed), run.path, cohort, bar=False)
    seconds = sum(float(row["seconds"]) for row in RunFolder.at(run.path).history())
    return {"train_seconds": round(seconds, 1), **({} if was_complete else _peaks())}


def _peaks() -> dict[str, int]:
    """Peak memory of this process in MB, and what it took of the GPU."""
    gpu = round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_initialized() else 0
    return {"peak_mb": round(peak_mb()), **({"peak_gpu_mb": gpu} if gpu else {})}


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """What the package logs goes to the file too."""
    log = logging.getLogger("dedl_fastai")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()


def main() -> None:
    """A process for one run: its `RunSpec` comes as a line on stdin, and when stdin closes, whoever started it is gone.

    Exits with 0 if the run is done, 1 if it failed, `LOCKED_EXIT` if another process is at it.
    """
    run = RunSpec(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_starter, daemon=True).start()
    state = carry_out(run)["state"]
    sys.exit({DONE: 0, LOCKED: LOCKED_EXIT}.get(state, 1))


def _end_with_starter() -> None:
    while os.read(0, 4096):  # not sys.stdin.read(): it holds a lock that a forked loader process waits for for ever
        pass
    os._exit(_ORPHANED_EXIT)  # a grid that was killed is not to go on unseen; the run can be resumed


if __name__ == "__main__":
    main()
