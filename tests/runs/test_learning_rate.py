"""Learning rates that are found, and floors that follow the rate."""

import json

import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.runs import ClfConfig, SegConfig, train_seg
from dedl_fastai.training.schedule import schedule_callbacks

from ..options import TINY


def test_the_floor_follows_the_rate():
    assert SegConfig.resolve({}).lr_min == 3.4e-4
    assert SegConfig.resolve({"lr": 1e-4}).lr_min == pytest.approx(1e-4 * 3.4 / 3.6)
    assert SegConfig.resolve({"lr": 1e-3, "preset": "fast"}).lr_min == pytest.approx(1e-6)
    assert ClfConfig.resolve({"lr": 1e-2}).lr_min == pytest.approx(1e-5)
    assert SegConfig.resolve({"lr": 1e-4, "lr_min": 5e-5}).lr_min == 5e-5


def test_a_floor_above_the_rate_is_refused():
    with pytest.raises(UserError, match=r"lr_min=0\.0001 is above lr=1e-05"):
        schedule_callbacks("cosine", 1e-5, 1e-4)


@pytest.mark.parametrize("wrong", ["fast", "0", "-1", "nan", "inf"])
def test_a_rate_that_is_none_is_refused(wrong):
    with pytest.raises(UserError, match="lr="):
        SegConfig.resolve({"lr": wrong})


def test_a_found_rate_is_kept_in_the_run(tiny_folder, tmp_path):
    given = {**TINY, "data": str(tiny_folder), "epochs": 1, "lr": "find"}
    del given["lr_min"]
    train_seg(SegConfig.resolve(given), tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert 1e-7 < config["lr"] < 10 and config["lr_min"] == pytest.approx(config["lr"] / 100)
    assert (tmp_path / "run" / "figures" / "lr_find.png").is_file()
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    train_seg(SegConfig.resolve(given), tmp_path / "run")  # complete: nothing is found or trained again
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before


def test_a_found_rate_trains_as_the_same_rate_given(tiny_folder, tmp_path):
    given = {**TINY, "data": str(tiny_folder), "epochs": 1, "lr": "find"}
    del given["lr_min"]
    train_seg(SegConfig.resolve(given), tmp_path / "found")
    config = json.loads((tmp_path / "found" / "config.json").read_text())
    train_seg(SegConfig.resolve({**given, "lr": config["lr"], "lr_min": config["lr_min"]}), tmp_path / "given")
    found, same = ((tmp_path / name / "best.safetensors").read_bytes() for name in ("found", "given"))
    assert found == same
