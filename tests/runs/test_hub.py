"""`hub push` and `hub pull`, with a server on this machine in place of the Hugging Face Hub."""

import json

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.inference import load_run
from dedl_fastai.models.names import NUCLEI_RUN
from dedl_fastai.training.model_card import FORMAT

from ..hub import WritableHub, serving


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with serving(WritableHub, tmp_path_factory.mktemp("hub")) as handler:
        yield handler


@pytest.fixture(autouse=True)
def online(hub, monkeypatch, tmp_path):
    """Let huggingface_hub find the server on this machine, with a token that may write."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    address = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", "good")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


def dedl(*arguments):
    result = CliRunner().invoke(app, ["hub", *map(str, arguments)])
    return result.exit_code, result.output


def refused(*arguments):
    """The error of a command that ends with exit code 2 and one sentence."""
    code, output = dedl(*arguments)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and "Traceback" not in output, output
    return errors[0]


def test_a_pushed_run_is_pulled_as_a_run_that_predicts_the_same(hub, tmp_path):
    code, output = dedl("push", "nuclei", "lab/nuclei")
    assert code == 0 and output.splitlines()[-1] == f"{hub.url}/lab/nuclei", output
    assert hub.created[-1] == "private"
    names = {p.name for p in (hub.root / "lab" / "nuclei").iterdir()}
    assert names == {
        "README.md",
        "best.safetensors",
        *(f"{n}.json" for n in ("config", "metrics", "model", "operators", "splits")),
    }
    card = (hub.root / "lab" / "nuclei" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: dedl-fastai\n")
    assert card.endswith((NUCLEI_RUN / "README.md").read_text(encoding="utf-8"))

    (hub.root / "lab" / "nuclei" / "resume.pt").write_bytes(b"a pickle")
    code, output = dedl("pull", "lab/nuclei", "--out", tmp_path / "mine")
    assert code == 0, output
    assert {p.name for p in (tmp_path / "mine").iterdir()} == names
    pixels = np.random.default_rng(0).random((1, 64, 64), np.float32)
    ours, theirs = (load_run(path, "best", "cpu").planes(pixels) for path in (NUCLEI_RUN, tmp_path / "mine"))
    assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))


def test_a_public_repository_is_asked_for(hub):
    assert dedl("push", "nuclei", "lab/open", "--public")[0] == 0
    assert hub.created[-1] == "public"


def test_errors_of_the_hub_are_one_sentence(hub, tmp_path, monkeypatch):
    assert "there is no repository lab/gone" in refused("pull", "lab/gone", "--out", tmp_path / "a")
    assert "'a/b/c' is not the name of a repository: give" in refused("pull", "a/b/c", "--out", tmp_path / "a")
    (hub.root / "lab" / "other").mkdir(parents=True)
    (hub.root / "lab" / "other" / "config.json").write_text("{}")
    assert "lab/other is not a run of dedl-fastai" in refused("pull", "lab/other", "--out", tmp_path / "a")
    assert "exists already" in refused("pull", "lab/other", "--out", tmp_path)
    monkeypatch.setenv("HF_TOKEN", "bad")
    assert "the hub refused lab/nuclei (Invalid token)" in refused("push", "nuclei", "lab/nuclei")
    monkeypatch.delenv("HF_TOKEN")
    assert "needs a token: log in with `hf auth login`" in refused("push", "nuclei", "lab/nuclei")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("setting", [{"HF_HUB_OFFLINE": True}, {"ENDPOINT": "http://127.0.0.1:9"}], ids=str)
def test_without_a_network_both_commands_say_so(setting, tmp_path, monkeypatch):
    for name, value in setting.items():
        monkeypatch.setattr(constants, name, value)
    for command in (("push", "nuclei", "lab/nuclei"), ("pull", "lab/nuclei", "--out", tmp_path / "a")):
        assert "lab/nuclei: the Hugging Face Hub cannot be reached" in refused(*command)


def test_unfinished_runs_and_those_without_a_network_are_not_pushed(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    assert "is not complete" in refused("push", tmp_path, "lab/nuclei")
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "model.json").write_text(json.dumps({"task": "cells", "format": FORMAT}))
    assert "only runs with a network can be pushed" in refused("push", tmp_path, "lab/nuclei")
