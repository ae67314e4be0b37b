"""Other tools beside our runs: each in its own process, on the same fields; a tool that is absent has a reason."""

import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

from dedl_fastai.bench.anchors import jobs
from dedl_fastai.bench.anchors.anchors import Training, compare_tools
from dedl_fastai.bench.anchors.table import anchor_lines
from dedl_fastai.cli import app
from dedl_fastai.data.cohort import Cohort
from dedl_fastai.errors import UserError

# A "tool" that labels what is bright, and says how many nuclei it was trained on.
TOOL = """
from job import job_of_arguments, threads
from skimage.measure import label

job = job_of_arguments()
with job.timed("predict"):
    labels = [label(image > 0.5) for image in job.images()]
if job.trains:
    with job.timed("train"):
        n = sum(int(ids.max()) for ids in job.ids())
    job.result["trained_on"] = n
version = f"{threads()} threads, {job.pixel_sizes} um"
job.finish(labels, version, "none", "MIT")
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three fields of discs that do not touch, one for each split."""
    root = tmp_path_factory.mktemp("anchors")
    y, x = np.mgrid[:96, :96]
    for name in ("images", "masks"):
        (root / name).mkdir()
    for field, n in (("a", 4), ("b", 3), ("c", 5)):
        ids = np.zeros((96, 96), np.int32)
        for i in range(n):
            ids[np.hypot(y - 15 - 16 * i, x - 14 - 15 * i) < 7] = i + 1
        size = {f"PhysicalSize{axis}": 0.5 for axis in "XY"}  # um
        tifffile.imwrite(root / "images" / f"{field}.tif", (ids > 0).astype(np.float32), ome=True, metadata=size)
        tifffile.imwrite(root / "masks" / f"{field}.tif", ids.astype(np.uint16))
    return Cohort.load(root, "field").with_split(["train", "valid", "test"])


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Replace StarDist by the tool above."""
    shutil.copy(jobs._SCRIPTS / "job.py", tmp_path)
    (tmp_path / "stardist_peer.py").write_text(TOOL)
    monkeypatch.setattr(jobs, "_SCRIPTS", tmp_path)
    monkeypatch.setitem(jobs.MODULES, "stardist", "skimage")


def test_a_tool_gets_the_fields_and_its_labels_are_scored_by_cohort(cohort, tool):
    parts = {"test": cohort.part("test"), "both": cohort.where(cohort.table.split != "test")}
    training = Training.of(cohort, ["DAPI"])
    rows = compare_tools(parts, [], ["stardist"], training=training, threads=1)
    table = pd.DataFrame(rows)
    published = table[table.tool == "stardist, published weights"].set_index("cohort")
    assert list(published.n_fields) == [1, 2] and list(published.f1) == [1, 1] and list(published.iou) == [1, 1]
    assert set(table.version.dropna()) == {"1 threads, [0.5, 0.5, 0.5] um"}
    trained = table[table.tool == "stardist, same fields"]
    assert set(trained.trained_on) == {4} and (trained.train_seconds >= 0).all()
    assert (table[table.tool == "Otsu and watershed"].f1 == 1).all()


def test_our_model_is_measured_in_the_same_way_and_absent_tools_have_a_reason(cohort, tmp_path):
    out = tmp_path / "anchors.csv"
    flags = ["nuclei", "--data", cohort.root, "--peers", "stardist", "--python", "stardist=/no/python", "--out", out]
    result = CliRunner().invoke(app, ["bench", "anchors", *map(str, flags)])
    assert result.exit_code == 2 and "/no/python cannot be started" in result.output
    result = CliRunner().invoke(app, ["bench", "anchors", *map(str, [*flags[:5], "--out", out, "--threads", 1])])
    assert result.exit_code == 0, result.output
    rows = pd.read_csv(out).set_index("tool")
    assert rows.loc["ours: nuclei", "f1"] == 1 and rows.loc["ours: nuclei", "seconds_per_mpx"] > 0
    assert "- stardist, published weights: not run, because stardist is not installed in" in result.output


def test_the_reason_of_a_tool_is_its_last_error_and_not_what_libraries_log_after_it():
    output = "Traceback:\n  File 'a.py'\npkg.errors.NotHereError: no package\nW0000 graph\n\t[[{{node}}]]\n"
    assert jobs._reason(output) == "pkg.errors.NotHereError: no package"
    assert jobs._reason("first\nsecond\n") == "second" and jobs._reason("") == ""


def test_lines_are_a_markdown_table():
    rows = [{"tool": "a", "cohort": "x", "f1": 0.51234}, {"tool": "b", "why_not": "it is absent"}]
    lines = anchor_lines(rows)
    assert lines[0].startswith("| tool | fields | F1     |") and lines[1].startswith("|------|")
    assert lines[2].startswith("| a    | x      | 0.5123 |") and lines[-1] == "- b: not run, because it is absent"


def test_impossible_requests_are_refused(cohort):
    with pytest.raises(UserError, match="peers='qupath' is unknown"):
        compare_tools({"a": cohort}, [], ["qupath"])
    without = cohort.where(cohort.table.field == "a")
    without.table["mask"] = ""
    with pytest.raises(UserError, match="no masks"):
        compare_tools({"a": without}, [], [])
