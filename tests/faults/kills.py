"""Commands that are killed before one of their file operations, and repeated: `make kills` tries every operation.

A command has to end as if it had not been killed: with the same files, without leftovers, and without a traceback.
"""

import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ..cli.results import contents
from ..figures import blank_figures
from ..forked import Forked
from ..options import TINY, TINY_CLF, as_flags

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
_TIMES = {"seconds", "started", "finished", "train_seconds", "peak_mb", "created", "epoch_seconds"}
_UNTIMED = ("starts.log", "log.txt", "README.md", "costs.md")  # times, and how often a run was started


@dataclass
class Command:
    """A command of `dedl-fastai` that writes into the folder `out`."""

    name: str
    args: list[str]
    resumes: bool = False  # it is continued with --resume; others by the same command

    def again(self, out: Path) -> list[str]:
        """The arguments that continue the command."""
        return [*self.args, "--resume"] if self.resumes and (out / "config.json").exists() else self.args


@dataclass
class Campaign:
    """Kills of a command at some or all of its file operations, and what was wrong after it was repeated."""

    command: Command
    home: Path
    whole: dict[str, Any] = field(default_factory=dict)  # the files of the command that is not killed
    operations: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)  # operation -> what is wrong

    @property
    def out(self) -> Path:
        return self.home / "out"

    def prepare(self) -> None:
        """Carry the command out without a kill."""
        code, text = self._run(self.command.args)
        assert code == 0, text
        self.operations = (self.home / "operations").read_text().splitlines()
        self.whole = comparable(self.out)

    def kill(self, n: int) -> None:
        """Kill the command before its operation `n`, counted from 1, repeat it, and compare."""
        for folder in (self.out, self.home / "cache"):
            shutil.rmtree(folder, ignore_errors=True)
        code, text = self._run(self.command.args, n)
        assert code == -signal.SIGKILL, (code, text)
        code, text = self._run(self.command.again(self.out))
        wrong = list(differences(self.whole, comparable(self.out)))
        if code or "Traceback" in text or wrong:
            last = text.strip().splitlines()[-1:]
            self.faults[f"{n} {self.operations[n - 1]}"] = f"exit code {code}, {', '.join([*wrong, *last])}"

    def _run(self, args: list[str], kill_at: int = 0) -> tuple[int, str]:
        env = {**os.environ, "DEDL_CACHE": str(self.home / "cache")}
        process = Forked(_watched, str(self.home), kill_at, args, env=env)
        _, text = process.communicate(600)
        shutil.rmtree(process.folder)
        return process.returncode or 0, text


def comparable(folder: Path) -> dict[str, Any]:
    """The contents of all files in a folder, without times."""
    return {name: _without_times(name, raw) for name, raw in contents(folder).items()}


def differences(whole: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """The files that differ, in words."""
    yield from (f"{name} is missing" for name in sorted(whole.keys() - found.keys()))
    yield from (f"{name} is left over" for name in sorted(found.keys() - whole.keys()))
    yield from (f"{name} differs" for name in sorted(whole.keys() & found.keys()) if whole[name] != found[name])


def _without_times(name: str, raw: bytes) -> Any:
    if name.endswith(_UNTIMED):
        return None
    if name.endswith("history.csv"):
        return [line.rpartition(",")[0] for line in raw.decode().splitlines()]
    return _timeless(json.loads(raw)) if name.endswith(".json") else raw


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _TIMES}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _watched(home: str, kill_at: int, args: list[str]) -> None:
    """Carry out a command in this process; note its file operations, and kill the process before one of them."""
    from dedl_fastai.cli import main

    places = f"{home}/out", f"{home}/cache"
    log = os.open(f"{home}/operations", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    n = 0

    def note(event: str, given: tuple) -> None:
        nonlocal n
        if event not in _EVENTS or (event == "open" and not given[2] & _WRITES) or not isinstance(given[0], str):
            return
        path = given[0]
        if event in ("os.remove", "os.rmdir") and given[1] >= 0:  # relative to a folder that is open
            path = str(Path(f"/proc/self/fd/{given[1]}").readlink() / path)
        if path.startswith(places):
            n += 1
            os.write(log, f"{event} {re.sub('[0-9]+-[0-9]+', 'N', path[len(home) + 1 :])}\n".encode())
            if n == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.argv = ["dedl-fastai", *args]
    with _quick():
        sys.addaudithook(note)
        main()


@contextmanager
def _quick() -> Iterator[None]:
    """Draw no figures, plant few trees, do not wait for the disk, and carry out the runs of a grid in this process."""
    from dedl_fastai.bench.grid.worker import carry_out
    from dedl_fastai.scores.forest import forest_probabilities

    def in_this_process(jobs: int) -> Callable[[Any], Any]:
        return lambda runs: map(carry_out, runs)

    with blank_figures(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(forest_probabilities, "__defaults__", (0, 5))
        patch.setattr("dedl_fastai.bench.grid.local_jobs.LocalJobs", in_this_process)
        yield


def commands(data: Path, many: Path, home: Path, run: Path) -> dict[str, Command]:
    """The commands, by name; `run` is the folder of a segmentation run for `predict`."""
    out = ["--out", str(home / "out")]
    seg = as_flags({**TINY, "data": data, "split": "auto", "epochs": 2})
    clf = as_flags({**TINY_CLF, "data": many, "split": "auto", "epochs": 2})
    grid = ["bench", "run", "app-ablation", "--rows", "none", "--seeds", "1", "--folds", "0"]
    images = [str(p) for p in sorted(data.rglob("*_data.tif"))[:2]]
    listed = [
        Command("seg", ["seg", *seg, *out], resumes=True),
        Command("clf", ["clf", *clf, *out], resumes=True),
        Command("predict", ["predict", str(run), *images, *out]),
        Command("grid", [*grid, *seg, *out]),
    ]
    return {command.name: command for command in listed}


def make_data(home: Path) -> tuple[Path, Path]:
    """Two tiny cohorts, for segmentation and classification."""
    from dedl_fastai.data import demo_cohort

    demo_cohort(home / "data", fields=4, patients=4, size=(64, 64), seed=1)
    demo_cohort(home / "many", fields=12, patients=6, size=(64, 64), seed=2)
    return home / "data", home / "many"


def main(seconds: float, names: list[str]) -> int:
    """Kill the commands before each of their operations, in random order, until the time is over; print a table."""
    n_faults = 0
    with TemporaryDirectory() as place:
        data, many = make_data(Path(place))
        run = Path(place) / "run"
        for name in dict.fromkeys(["seg", *names]):  # seg first, whose run predict needs
            home = Path(place) / name
            home.mkdir()
            campaign = Campaign(commands(data, many, home, run)[name], home)
            campaign.prepare()
            if name == "seg":
                shutil.copytree(campaign.out, run)
            if name in names:
                n_faults += _try_all(campaign, seconds / len(names))
    return bool(n_faults)


def _try_all(campaign: Campaign, seconds: float) -> int:
    points = list(range(1, len(campaign.operations) + 1))
    random.Random(0).shuffle(points)
    tried, started = 0, time.perf_counter()
    for n in points:
        if time.perf_counter() - started > seconds:
            break
        before = set(campaign.faults)
        campaign.kill(n)
        tried += 1
        for operation in campaign.faults.keys() - before:
            sys.stdout.write(f"  {operation}: {campaign.faults[operation][:300]}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{campaign.command.name}: {tried} of {len(points)} kills, {len(campaign.faults)} faults\n")
    sys.stdout.flush()
    return len(campaign.faults)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:] or ["predict", "seg", "clf", "grid"]))
