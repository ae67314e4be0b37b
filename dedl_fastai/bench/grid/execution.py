"""`run_grid`: carry out the runs of a grid with an executor until each is done or has failed."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...io.locks import held
from .run_spec import DONE, FAILED, RunSpec, forget_failure, outcome, run_lock, run_state

log = logging.getLogger(__name__)

Outcome = dict[str, Any]
Executor = Callable[[Sequence[RunSpec]], Iterable[Outcome]]  # yields outcomes of `carry_out` in any order


def run_grid(runs: Sequence[RunSpec], executor: Executor, retry: bool = False, wait: float = 2.0) -> list[Outcome]:
    """Return the `outcome` of every run, in order; a line is logged when a run ends.

    Finished runs are not repeated and unfinished ones are continued; failed ones are skipped unless `retry`. Runs that
    are locked by another process are left to the end and then checked every `wait` seconds.
    """
    if retry:
        _forget_failures(runs)
    by_name = {run.path.name: run for run in runs}
    ended = {n: outcome(r) for n, r in by_name.items() if run_state(r.path) in (DONE, FAILED)}
    if ended:
        counts = Counter(o["state"] for o in ended.values())
        log.info("%d of %d runs are done already, %d have failed", counts[DONE], len(runs), counts[FAILED])
    while todo := [run for name, run in by_name.items() if name not in ended]:
        before = len(ended)
        for result in executor(todo):
            if result["state"] in (DONE, FAILED):
                ended[result["run"]] = result
                log.info(progress_line(len(ended), len(runs), by_name[result["run"]], result))
        if len(ended) == before:
            time.sleep(wait)
    return [ended[name] for name in by_name]


def progress_line(n: int, total: int, run: RunSpec, result: Outcome) -> str:
    """Describe a run that has ended, in one line."""
    if result["state"] == FAILED:
        return f"{n}/{total} runs done, {run.label}: FAILED ({result['error']})"
    value = "no value" if result["value"] is None else f"{result['value']:.4g}"
    return f"{n}/{total} runs done, {run.label}: {run.metric.rsplit('.', 1)[-1]} {value} ({result['seconds']:.0f} s)"


def failures(runs: Sequence[RunSpec], outcomes: Sequence[Outcome]) -> list[str]:
    """Describe each failed run: its label, the error, and where its log is."""
    pairs = zip(runs, outcomes, strict=True)
    return [f"failed: {r.label}: {o['error']}\n  log: {r.log}" for r, o in pairs if o["state"] == FAILED]


def _forget_failures(runs: Sequence[RunSpec]) -> None:
    for run in runs:
        if run_state(run.path) == FAILED:
            with held(run_lock(run.path)) as is_ours:
                if is_ours:
                    forget_failure(run.path)
