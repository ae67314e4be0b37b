"""`export --format bioimageio`: the package passes the archive's own test, and predicts as the run does."""

import numpy as np
import pytest
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.inference import load_run
from dedl_fastai.runs import zoo_package
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg

from ..options import TINY

GIVEN = ("--format", "bioimageio", "--author", "Ada Nym", "--license", "CC-BY-4.0")


@pytest.fixture(scope="module")
def run(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo") / "run"
    train_seg(SegConfig.resolve({**TINY, "epochs": 1, "data": str(tiny_folder)}), folder, bar=False)
    return folder


@pytest.fixture
def core():
    return pytest.importorskip("bioimageio.core", reason="bioimageio.core is not installed: it is in an extra")


def export(*args):
    return CliRunner().invoke(app, ["export", *map(str, args)])


def test_a_package_passes_the_test_and_predicts_as_the_run(run, tiny_folder, core, tmp_path):
    result = export(run, *GIVEN)
    assert result.exit_code == 0, result.output
    model = core.load_model_description(run / "export" / "model.bioimageio.zip")
    assert [a.name for a in model.authors] == ["Ada Nym"] and str(model.license) == "CC-BY-4.0"
    assert [d.id for d in model.outputs[0].postprocessing] == ["sigmoid", "ensure_dtype"]
    segmenter = load_run(run, device="cpu")
    image = next(tiny_folder.rglob("*component_data.tif"))
    raw = zoo_package._raw_tile(segmenter, image)
    pixels = segmenter.facts.scaling(raw[0, 0])[None]
    expected = segmenter.probability(pixels)
    sample = core.predict(model=model, inputs={"pixels": raw})
    found = np.asarray(next(iter(sample.members.values())).data)
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-3)


def test_a_package_whose_output_differs_is_not_kept(run, core, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo_package, "_normalised", lambda segmenter, raw: raw * 0 + 9)
    result = export(run, *GIVEN, "--out", tmp_path / "x.zip")
    assert result.exit_code == 2 and "fails its test" in result.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (GIVEN[:2], "needs --author"),
        (GIVEN[:4], "needs --license"),
        (("--license", "MIT"), "are for --format bioimageio"),
    ],
)
def test_whose_model_it_is_has_to_be_said(run, flags, says):
    result = export(run, *flags)
    assert result.exit_code == 2 and says in result.stderr.replace("'", "")
