"""The grid of app-ablation: arms that differ in APP alone; resumed, retried, with the options of other tables."""

import json

import pytest
from typer.testing import CliRunner

from dedl_fastai.bench.grid.execution import run_grid
from dedl_fastai.bench.grid.grid_file import read_grid
from dedl_fastai.bench.grid.plan import Request, plan_grid
from dedl_fastai.bench.grid.run_spec import notes
from dedl_fastai.bench.paper.tables import SEEDS, load_table
from dedl_fastai.cli import app
from dedl_fastai.errors import UserError
from dedl_fastai.runs.cohort import load_split_cohort
from dedl_fastai.runs.options.seg import SegConfig

from ...forked import forked_workers
from ...options import NETWORK, as_flags
from ..synthetic import TINY, one_by_one

TABLE = load_table("app-ablation")
ARMS = {
    "none": {"app": "none"},
    "gelu": {"app": "gelu"},
    "gelu-cosine": {"app": "gelu", "app_schedule": "cosine"},
    "gelu-fixed": {"app": "gelu", "app_weight": "1"},
    "relu": {"app": "relu"},
    "relu-cosine": {"app": "relu", "app_schedule": "cosine"},
    "summed": {"app": "gelu", "app_weight": "summed"},
    "released": {"app": "relu", "app_released": True},
}


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def plan(data, folder, arms=("none",), seeds=(5,), folds=None, **changes):
    given = {**TINY, **NETWORK, "data": str(data), **changes}
    return plan_grid(Request(TABLE.select(arms), given, seeds, folds), folder)


def arms_of(runs):
    """The arm of each run, by its label."""
    return [run.label.split()[1] for run in runs]


def test_every_arm_is_a_run_per_seed_that_differs_in_app_alone(tiny_folder, tmp_path):
    runs = plan(tiny_folder, tmp_path, ARMS, ())
    assert arms_of(runs) == list(ARMS) * 5 and [run.seed for run in runs] == [s for s in SEEDS for _ in ARMS]
    assert len({run.folder for run in runs}) == 40
    none = runs[0].options
    for run, (arm, expected) in zip(runs[:8], ARMS.items(), strict=True):
        differing = {k: v for k, v in run.options.items() if v != none[k]}
        assert differing == {k: v for k, v in expected.items() if v != "none"}, arm


def test_all_arms_and_seeds_have_one_split_that_of_the_option_seed(tiny_folder, tmp_path):
    def splits(seeds, **changes):
        (path,) = {run.options["splits"] for run in plan(tiny_folder, tmp_path, ARMS, seeds, **changes)}
        return path

    first = splits((1, 2), split="random")
    assert first == splits((2, 1), split="random") != splits((1, 2), split="random", seed=4)


def test_each_fold_has_a_split_of_its_own(tiny_folder, tmp_path):
    runs = plan(tiny_folder, tmp_path, ["gelu"], (5, 6), folds=2)
    assert [(arm, run.seed, run.fold) for arm, run in zip(arms_of(runs), runs, strict=True)] == [
        (arm, seed, fold) for seed in (5, 6) for fold in (0, 1) for arm in ("none", "gelu")
    ]
    splits = [{run.options["splits"] for run in runs if run.fold == fold} for fold in (0, 1)]
    assert [len(s) for s in splits] == [1, 1] and splits[0] != splits[1]


def test_other_options_fields_or_split_are_other_runs(tiny_folder, tmp_path):
    seen = set()
    for changes in ({}, {"epochs": 9}, {"limit_fields": 4}, {"split": "random"}):
        runs = plan(tiny_folder, tmp_path, ["none", "relu", "released"], (5, 6), **changes)
        folders = {run.folder for run in runs}
        assert len(folders) == 6 and not folders & seen
        seen |= folders
    assert {run.folder for run in plan(tiny_folder, tmp_path, seeds=(5, 6), workers=1)} <= seen


def test_fields_are_limited_once(tiny_folder, tmp_path):
    runs = plan(tiny_folder, tmp_path, seeds=(5, 6), limit_fields=4, seed=5)
    options = {**TINY, **NETWORK, "data": str(tiny_folder), "limit_fields": 4, "seed": 5}
    wanted = load_split_cohort(SegConfig.resolve(options)).table
    assert set(wanted.split) == {"train", "valid", "test"} and len(wanted) == 4
    for run in runs:
        fields = load_split_cohort(SegConfig.resolve(run.options)).table
        assert dict(zip(fields.field, fields.split, strict=True)) == dict(zip(wanted.field, wanted.split, strict=True))


def test_runs_are_shared_with_tables_of_the_paper(tiny_folder, tmp_path):
    given = {**TINY, "data": str(tiny_folder)}
    table6 = plan_grid(Request(load_table("table6").select(["resnet18"]), given, (5,)), tmp_path)
    arms = plan_grid(Request(TABLE.select(["gelu", "relu"]), {**given, "encoder": "resnet18"}, (5,)), tmp_path)
    assert {run.folder for run in arms} == {run.folder for run in table6} and len(arms) == 3
    assert [part["table"] for part in read_grid(tmp_path)] == ["table6", "app-ablation"]


def test_arms_keep_what_they_differ_in_whatever_is_given(tiny_folder, tmp_path, caplog):
    runs = plan(tiny_folder, tmp_path, ["gelu", "gelu-fixed", "summed"], app_weight="2", app_width=64)
    assert [run.options["app_weight"] for run in runs] == ["auto", "2", "1", "summed"]
    width = SegConfig.default_of("app_width")
    assert [run.options["app_width"] for run in runs] == [width, 64, 64, 64]  # unused without APP
    assert "makes them equal" not in caplog.text


@pytest.mark.parametrize(("name", "value"), [("app", "gelu"), ("app_released", True)])
def test_an_option_that_the_arms_set_is_refused(tiny_folder, tmp_path, name, value):
    with pytest.raises(UserError, match=f"`{name}` is what the arms differ in: choose arms with `rows`"):
        plan(tiny_folder, tmp_path / "grid", **{name: value})
    assert not (tmp_path / "grid").exists()


def test_finished_runs_are_kept_and_a_new_arm_is_added(tiny_folder, tmp_path):
    first = plan(tiny_folder, tmp_path, ["gelu"], epochs=1, app_width=64)
    assert [o["state"] for o in run_grid(first, one_by_one)] == ["done", "done"]
    more = plan(tiny_folder, tmp_path, ["relu"], epochs=1, app_width=64)
    assert arms_of(more) == ["none", "relu"] and more[0] == first[0]
    assert [o["state"] for o in run_grid(more, one_by_one)] == ["done", "done"]
    assert [notes(run.path) for run in (*first, more[1])] == [["start", "done"]] * 3
    (part,) = read_grid(tmp_path)
    assert list(dict.fromkeys(c["row"] for c in part["cells"])) == ["none", "gelu", "relu"]


def test_an_arm_that_fails_leaves_the_others_and_is_retried(tiny_folder, tmp_path, monkeypatch):
    from dedl_fastai.bench.grid import worker

    train = worker.train_seg

    def fails_with_relu(options, *args, **kwargs):
        if options.app == "relu":
            raise RuntimeError("no luck today")
        return train(options, *args, **kwargs)

    runs = plan(tiny_folder, tmp_path, ["relu", "gelu"], epochs=1, app_width=64)
    monkeypatch.setattr(worker, "train_seg", fails_with_relu)
    states = dict(zip(arms_of(runs), (o["state"] for o in run_grid(runs, one_by_one)), strict=True))
    assert states == {"none": "done", "gelu": "done", "relu": "failed"}
    monkeypatch.setattr(worker, "train_seg", train)
    assert all(o["state"] == "done" for o in run_grid(runs, one_by_one, retry=True))
    assert [notes(run.path) for run in runs][:2] == [["start", "done"]] * 2


def test_the_command_trains_the_arms_reports_them_and_repeats_nothing(tiny_folder, tmp_path):
    options = {**TINY, **NETWORK, "data": tiny_folder, "epochs": 1, "app_width": 64}
    flags = [*as_flags(options), "--rows", "gelu", "--seeds", "5", "--out", tmp_path / "grid"]
    with forked_workers():
        result = dedl("bench", "run", "app-ablation", *flags)
    assert result.exit_code == 0, result.output
    assert "| gelu | IoU, tuned threshold | 0." in result.stdout and "published" not in result.stdout
    runs = sorted((tmp_path / "grid" / "runs").iterdir())
    assert [run.name.rsplit("-", 1)[0] for run in runs] == [
        "seg-unet-tu-test_resnet-gelu-s5",
        "seg-unet-tu-test_resnet-s5",
    ]
    configs = [json.loads((run / "config.json").read_text()) for run in runs]
    assert {k for k in configs[0] if configs[0][k] != configs[1][k]} == {"app", "app_width"}
    assert len({(run / "splits.json").read_text() for run in runs}) == 1
    assert all(json.loads((run / "cost.json").read_text())["peak_mb"] > 100 for run in runs)
    again = dedl("bench", "run", "app-ablation", *flags)
    assert again.exit_code == 0 and again.stdout == result.stdout
    assert all(notes(run) == ["start", "done"] for run in runs)
    assert "gelu" in (tmp_path / "grid" / "report" / "costs.md").read_text()
