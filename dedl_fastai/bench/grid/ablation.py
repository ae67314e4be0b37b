"""`run_ablation`: segmentation with and without APP, paired by seed: same split, data order and first weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...data.splits import save_splits
from ...errors import UserError
from ...io.files import write_json
from ...runs.cohort import load_split_cohort
from ...runs.options.seg import SegConfig
from ...training.run_folder import RunFolder, data_fingerprint
from .execution import failures, run_grid
from .local_jobs import LocalJobs
from .plan import canonical, run_name
from .run_spec import DONE, RunSpec, run_state

ARMS: dict[str, dict[str, Any]] = {
    "none": {"app": "none"},
    "gelu": {"app": "gelu"},
    "gelu-cosine": {"app": "gelu", "app_schedule": "cosine"},
    "gelu-fixed": {"app": "gelu", "app_weight": "1"},
    "relu": {"app": "relu"},
    "relu-cosine": {"app": "relu", "app_schedule": "cosine"},
    "summed": {"app": "gelu", "app_weight": "summed"},
    "released": {"app": "relu", "app_released": True},
}


def run_ablation(
    given: Mapping[str, Any],  # options of `seg`, as a user gave them
    seeds: Sequence[int],
    out: str | Path,
    arms: Sequence[str] = (),  # default: all of `ARMS`
    jobs: int = 1,
    retry: bool = False,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Train every arm with every seed below `out`; returns (and writes as runs.json) a row a run, and what failed.

    Each run has a process of its own, so that its peak memory is its own. Finished runs are not repeated, unfinished
    ones go on; with other options, fields or split they are other runs, in other folders. Raises `UserError` for
    unknown arms.
    """
    folder = RunFolder.at(out).path
    planned = plan_ablation(given, seeds, folder, arms)
    runs = list(planned.values())
    outcomes = run_grid(runs, LocalJobs(jobs), retry)
    rows = [
        {"arm": arm, "seed": seed, **_results(run.path)}
        for (arm, seed), run in planned.items()
        if run_state(run.path) == DONE
    ]
    write_json(folder / "runs.json", rows)
    return rows, failures(runs, outcomes)


def plan_ablation(
    given: Mapping[str, Any], seeds: Sequence[int], folder: Path, arms: Sequence[str] = ()
) -> dict[tuple[str, int], RunSpec]:
    """The run of every arm and seed, first seed first, below `folder`; writes the split that they share.

    It is the split of the seed in `given` (default: 26). A folder's name holds the arm, and a hash of all that decides
    the result. Raises `UserError`, before anything is written, for unknown arms, and for options and data that do not
    do.
    """
    arms = _with_baseline(arms or list(ARMS))
    for name in ("app", "app_released"):
        if name in given:
            raise UserError(f"--{name.replace('_', '-')} is what the arms differ in: choose arms with `rows`.")
    base = SegConfig.resolve(given)
    whole = load_split_cohort(replace(base, limit_fields=0))  # `limit_fields` is applied after the file
    splits = folder / "splits" / f"{data_fingerprint(whole)}.json"
    fixed = {**given, "split": "auto", "splits": str(splits)}
    fingerprint = data_fingerprint(whole.limited(base.limit_fields))
    planned = {(arm, seed): _run(fixed, arm, seed, folder, fingerprint) for seed in seeds for arm in arms}
    if not splits.exists():
        save_splits(whole, splits)
    return planned


def _run(fixed: Mapping[str, Any], arm: str, seed: int, folder: Path, fingerprint: str) -> RunSpec:
    options = SegConfig.resolve(canonical({**fixed, **ARMS[arm], "seed": seed})).to_dict()
    name = f"{arm}-{run_name('seg', options, seed, None, fingerprint)}"
    return RunSpec(str(folder / name), "seg", f"{arm} seed {seed}", "test.iou", options, seed)


def _with_baseline(arms: Sequence[str]) -> list[str]:
    unknown = [a for a in arms if a not in ARMS]
    if unknown:
        raise UserError(f"rows={unknown[0]!r} is unknown; they may be {', '.join(ARMS)}.")
    return ["none", *(a for a in arms if a != "none")]


def _results(path: Path) -> dict[str, Any]:
    """Scores and cost of a finished run."""
    run = RunFolder.existing(path)
    metrics, last = run.read("metrics"), run.history()[-1]
    return {
        "iou": metrics["test"]["iou"],
        "iou_at_0.5": metrics["test"]["at_0.5"]["iou"],
        "valid_iou": metrics["valid"]["iou"],
        "otsu_iou": metrics["baselines"]["otsu"]["iou"],
        "threshold": metrics["threshold"],
        "app_grad_ratio": float(last.get("app_grad_ratio") or 0),
        **run.read("cost"),
    }
