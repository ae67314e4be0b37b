"""`carry_out`: one run of a grid in this process: take its lock, train, and write everything to its folder."""

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

from ...io.files import remove_temporaries, write_json
from ...io.locks import held
from ...runs.classification.training import member_options, train_clf
from ...runs.cohort import load_clf_cohort
from ...runs.options.clf import ClfConfig
from ...runs.options.seg import SegConfig
from ...runs.segmentation.training import train_seg
from ...training.run_folder import RunFolder
from ..speed.process import peak_mb
from .run_spec import DONE, FAILED, LOCKED, RunSpec, note, note_failure, outcome, run_lock, run_state

LOCKED_EXIT = 75  # exit code of a process that finds its run locked
_ORPHANED_EXIT = 3


def carry_out(run: RunSpec) -> dict[str, Any]:
    """Train the run unless it is done, has failed or is locked by another process; return its `outcome`.

    An unfinished run is continued. An error is not raised: it is written to the folder (error.txt, log.txt), and the
    state is "failed".
    """
    run.path.mkdir(parents=True, exist_ok=True)
    with held(run_lock(run.path)) as is_ours:
        if not is_ours:
            return outcome(run, LOCKED)
        remove_temporaries(run.path)  # of a process that was killed
        if run_state(run.path) not in (DONE, FAILED):  # another process may have finished it before we had the lock
            with _logged(run.log):
                _attempt(run)
        return outcome(run)


def _attempt(run: RunSpec) -> None:
    note(run.path, "start")
    write_json(run.path / "run.json", run.to_dict())
    try:
        cost = _train(run)
    except Exception:  # a run that fails must not end the grid
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
    """Peak memory of this process in MB, and its peak GPU memory if it used one."""
    gpu = round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_initialized() else 0
    return {"peak_mb": round(peak_mb()), **({"peak_gpu_mb": gpu} if gpu else {})}


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Write the log of the package to a file too."""
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
    """Carry out the run whose `RunSpec` is a line on stdin; exit when stdin closes, as the parent process has ended.

    Exits with 0 if the run is done, 1 if it failed, `LOCKED_EXIT` if another process works on it.
    """
    run = RunSpec(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_starter, daemon=True).start()
    state = carry_out(run)["state"]
    sys.exit({DONE: 0, LOCKED: LOCKED_EXIT}.get(state, 1))


def _end_with_starter() -> None:
    while os.read(0, 4096):  # not sys.stdin.read(): forked loader processes would wait forever for its lock
        pass
    os._exit(_ORPHANED_EXIT)  # nothing continues unseen when a grid is killed; the run can be resumed


if __name__ == "__main__":
    main()
