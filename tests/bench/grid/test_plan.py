"""Grids: the runs of a table; stopped, killed, shared between processes and started again."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from dedl_fastai.bench.grid.execution import failures, run_grid
from dedl_fastai.bench.grid.grid_file import read_grid
from dedl_fastai.bench.grid.plan import Request, plan_grid
from dedl_fastai.bench.grid.run_spec import notes
from dedl_fastai.bench.report.grid_report import write_grid_report
from dedl_fastai.data import Cohort, split_cohort
from dedl_fastai.data.splits import save_splits
from dedl_fastai.errors import UserError

from ...forked import Forked
from ...options import NETWORK
from ..synthetic import APP, PAIR, TINY, cell, one_by_one, table
from ..waiting import until


def names(data, folder, which=PAIR, seeds=(1, 2), folds=None, **changes):
    request = Request(which, {**TINY, "data": str(data), **changes}, seeds, folds)
    return [run.path.name for run in plan_grid(request, folder)]


def carry_out_grid(data: str, folder: str, epochs: int, seeds: tuple[int, ...]) -> None:
    request = Request(PAIR, {**TINY, "data": data, "epochs": epochs}, seeds)
    run_grid(plan_grid(request, Path(folder)), one_by_one, wait=0.2)


def process(data, folder, epochs: int, *seeds: int) -> Forked:
    return Forked(carry_out_grid, str(data), str(folder), epochs, seeds)


def epochs_of(run: Path) -> int:
    history = run / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def test_equal_options_of_cells_and_tables_are_one_run(tiny_folder, tmp_path):
    twice = table({"a": [cell("x", NETWORK), cell("y", {**NETWORK, "app": "none"})], "b": [cell("x", NETWORK)]})
    first = names(tiny_folder, tmp_path, twice)
    assert len(first) == 2 and first[0].startswith("seg-unet-tu-test_resnet-s1-")
    assert names(tiny_folder, tmp_path, table({"c": [cell("z", NETWORK)]}, "other")) == first
    assert [len(c["runs"]) for part in read_grid(tmp_path) for c in part["cells"]] == [2, 2, 2, 2]


def test_a_name_changes_with_options_and_data_alone(tiny_folder, tmp_path):
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    before = names(tiny_folder, tmp_path / "g")
    assert names(copy, tmp_path / "g", workers=1, device="auto") == before
    assert not set(names(copy, tmp_path / "g", dihedral=False)) & set(before)
    assert not set(names(tiny_folder, tmp_path / "g", lr=1e-3)) & set(before)
    assert not set(names(tiny_folder, tmp_path / "g", limit_fields=4)) & set(before)
    mask = next(copy.rglob("*Mask.tif"))
    mask.write_bytes(mask.read_bytes() + b"\0")
    assert not set(names(copy, tmp_path / "g")) & set(before)


def test_seeds_share_the_split_and_folds_do_not(tiny_folder, tmp_path):
    runs = plan_grid(Request(PAIR, {**TINY, "data": str(tiny_folder)}, (1, 2), 2), tmp_path)
    assert len(runs) == 8 and [r.seed for r in runs] == [1] * 4 + [2] * 4
    splits = {fold: {r.options["splits"] for r in runs if r.fold == fold} for fold in (0, 1)}
    assert [len(s) for s in splits.values()] == [1, 1] and splits[0] != splits[1]
    sides = [json.loads(Path(s.pop()).read_text())["counts"] for s in splits.values()]
    assert sides[0]["test"] == sides[1]["test"] and sides[0]["valid"] != sides[1]["valid"]


def test_rows_seeds_and_other_options_add_to_the_grid(tiny_folder, tmp_path):
    two = table({"a": [cell("x", NETWORK)], "b": [cell("x", {**NETWORK, "tile": 64})]})
    names(tiny_folder, tmp_path, two.select(["a"]), (1,))
    names(tiny_folder, tmp_path, two, (2,))
    names(tiny_folder, tmp_path, two, (2,), epochs=3)
    parts = read_grid(tmp_path)
    assert [[(c["row"], [r["seed"] for r in c["runs"]]) for c in p["cells"]] for p in parts] == [
        [("a", [1, 2]), ("b", [2])],
        [("a", [2]), ("b", [2])],
    ]


def test_options_that_change_nothing_share_part_and_runs(tiny_folder, tmp_path):
    first = names(tiny_folder, tmp_path, seeds=(1,))
    for idle in ({"workers": 1}, {"device": "auto"}, {"accumulate": 1}, {"folds": 0}):
        assert names(tiny_folder, tmp_path, seeds=(1,), **idle) == first
    assert len(read_grid(tmp_path)) == 1
    other = names(tiny_folder, tmp_path, seeds=(1,), app_target=0.5)
    assert other[0] == first[0] and other[1] != first[1]  # the run without APP is the same


def test_options_of_app_do_not_change_a_run_without_app(tiny_folder, tmp_path):
    given = {**TINY, "data": str(tiny_folder)}
    for changes in ({"app_rows": 1.0}, {"app_width": 128, "app_released": True}):
        plain, with_app = plan_grid(Request(PAIR, given, (1,)), tmp_path)
        same, other = plan_grid(Request(PAIR, {**given, **changes}, (1,)), tmp_path)
        assert same == plain
        assert other.folder != with_app.folder and other.options["app"] == "gelu"


def test_runs_of_an_older_recipe_are_not_reused(tiny_folder, tmp_path, monkeypatch):
    before = names(tiny_folder, tmp_path)
    monkeypatch.setattr("dedl_fastai.bench.grid.run_names._RECIPE", 0)
    assert not set(names(tiny_folder, tmp_path)) & set(before)


def test_moved_data_stays_in_the_same_table(tiny_folder, tmp_path):
    names(shutil.copytree(tiny_folder, tmp_path / "here" / "cohort"), tmp_path / "g", seeds=(1,))
    names(shutil.copytree(tiny_folder, tmp_path / "there" / "cohort"), tmp_path / "g", seeds=(2,), preset="demo")
    (part,) = read_grid(tmp_path / "g")
    assert [[r["seed"] for r in c["runs"]] for c in part["cells"]] == [[1, 2], [1, 2]]


def test_rows_that_cannot_run_are_kept_for_the_report(tiny_folder, tmp_path):
    quoted = table({"a": [cell("x", NETWORK)], "b": [cell("x", {}, 0.63, task="", why_not="quoted")]})
    assert len(names(tiny_folder, tmp_path, quoted, seeds=(1,))) == 1
    (part,) = read_grid(tmp_path)
    assert [len(c["runs"]) for c in part["cells"]] == [1, 0]
    assert "| B | x | 0.63 | – | – | not run: quoted |" in write_grid_report(tmp_path, find_table=lambda name: quoted)


def test_runs_of_changed_data_leave_the_report_with_a_warning(tiny_folder, tmp_path, caplog):
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    names(copy, tmp_path / "g", seeds=(1, 2))
    mask = next(copy.rglob("*Mask.tif"))
    mask.write_bytes(mask.read_bytes() + b"\0")
    now = names(copy, tmp_path / "g", seeds=(1,))
    (part,) = read_grid(tmp_path / "g")
    assert [[r["run"] for r in c["runs"]] for c in part["cells"]] == [[n] for n in now]
    assert "2 earlier runs have other data" in caplog.text


def test_a_file_of_splits_replaces_the_folds(tiny_folder, tmp_path):
    splits = tmp_path / "splits.json"
    save_splits(split_cohort(Cohort.load(tiny_folder), "paper"), splits)
    folded = table({"a": [cell("x", NETWORK, folds=2)]})
    given = {k: v for k, v in TINY.items() if k != "split"}
    request = Request(folded, {**given, "data": str(tiny_folder), "splits": str(splits)}, (1,))
    (run,) = plan_grid(request, tmp_path / "g")
    assert run.fold == 0 and Path(run.options["splits"]).is_absolute()


def test_impossible_requests_are_refused_before_anything_is_written(tiny_folder, tmp_path):
    with pytest.raises(UserError, match="have no 'gamma'"):
        names(tiny_folder, tmp_path / "g", gamma=1.0)
    with pytest.raises(UserError, match="the network is not ours"):
        names(tiny_folder, tmp_path / "g", table({"a": [cell("x", {}, task="", why_not="the network is not ours")]}))
    with pytest.raises(UserError, match="folds=9"):
        names(tiny_folder, tmp_path / "g", folds=9)
    with pytest.raises(UserError, match="leave `test_folds` out"):
        names(tiny_folder, tmp_path / "g", test_folds="3")
    assert not (tmp_path / "g").exists()
    with pytest.raises(UserError, match="is not a grid"):
        read_grid(tmp_path)


def test_killed_and_started_again_it_reports_the_same_and_repeats_nothing(tiny_folder, tmp_path):
    request = Request(PAIR, {**TINY, "data": str(tiny_folder), "epochs": 6}, (1,))
    grids = {name: tmp_path / name for name in ("whole", "killed")}
    runs = {name: plan_grid(request, grid) for name, grid in grids.items()}
    first, second = (run.path for run in runs["killed"])
    started = process(tiny_folder, grids["killed"], 6, 1)
    until(lambda: epochs_of(second) >= 2 or started.poll() is not None)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert notes(first) == ["start", "done"] and notes(second) == ["start"], started.communicate()[1]
    texts = []
    for name, grid in grids.items():
        assert all(o["state"] == "done" for o in run_grid(runs[name], one_by_one))
        write_grid_report(grid, find_table=lambda name: PAIR)
        texts.append((grid / "report" / "synthetic.md").read_text())
    assert notes(first) == ["start", "done"] and notes(second) == ["start", "start", "done"]
    assert "continuing after epoch" in (second / "log.txt").read_text()
    assert texts[0] == texts[1] and "| Tiny | with |" in texts[0]


def test_two_processes_at_once_do_each_run_once(tiny_folder, tmp_path):
    both = [process(tiny_folder, tmp_path, 1, 1, 2) for _ in range(2)]
    errors = [p.communicate(timeout=200)[1] for p in both]
    assert [p.returncode for p in both] == [0, 0], errors
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == 4 and all(notes(r) == ["start", "done"] for r in runs)
    assert len(read_grid(tmp_path)) == 1


def test_a_failed_run_is_reported_skipped_and_retried(tiny_folder, tmp_path, monkeypatch):
    from dedl_fastai.bench.grid import worker

    train, request = worker.train_seg, Request(PAIR, {**TINY, "data": str(tiny_folder), "epochs": 1}, (1,))
    runs = plan_grid(request, tmp_path)
    monkeypatch.setattr(worker, "train_seg", lambda options, *a, **k: _fail_with_app(train, options, *a, **k))
    outcomes = run_grid(runs, one_by_one)
    assert [o["state"] for o in outcomes] == ["done", "failed"]
    (line,) = failures(runs, outcomes)
    assert "no luck today" in line and str(runs[1].log) in line and "Traceback" in runs[1].log.read_text()
    monkeypatch.setattr(worker, "train_seg", train)
    assert [o["state"] for o in run_grid(runs, one_by_one)] == ["done", "failed"]
    assert [o["state"] for o in run_grid(runs, one_by_one, retry=True)] == ["done", "done"]
    assert notes(runs[0].path) == ["start", "done"] and notes(runs[1].path) == ["start", "failed", "start", "done"]


def _fail_with_app(train, options, *args, **kwargs):
    if options.app == APP["app"]:
        raise RuntimeError("no luck today")
    return train(options, *args, **kwargs)


def test_classification_folds_are_those_of_the_members(few_folder, tmp_path):
    from dedl_fastai.runs.members import train_members
    from dedl_fastai.runs.options.clf import ClfConfig

    from ...options import TINY_CLF

    given = {**TINY_CLF, "epochs": 1, "data": str(few_folder)}
    one = table({"a": [cell("x", {}, task="clf", metric="test.f1_macro", folds=2)]})
    outcomes = run_grid(plan_grid(Request(one, given, (5,)), tmp_path / "grid"), one_by_one)
    members = train_members(ClfConfig.resolve({**given, "folds": 2, "seeds": "5"}), tmp_path / "members", bar=False)
    assert [o["value"] for o in outcomes] == members["test"]["f1_macro"]["values"]
