"""The committed notebooks have outputs of their present code, in order and without errors, and are small."""

import json
import re

import pytest

from .notebooks import LARGEST, STAMP, as_on_screen, code_hash, paths

MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:tmp|home|root|work|Users|var|private|mnt)/")


def text_of(output):
    """The text of an output, without pictures."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    return "".join("".join(value) for kind, value in data.items() if not kind.startswith("image/"))


@pytest.fixture(params=paths(), ids=lambda p: p.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(notebook):
    return [c for c in notebook["cells"] if c["cell_type"] == "code"]


def test_outputs_are_those_of_the_present_code(notebook):
    assert notebook["metadata"].get(STAMP) == code_hash(notebook), "run `make notebooks-outputs`"


def test_cells_were_run_once_in_order(notebook):
    counts = [c["execution_count"] for c in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_show_results_and_no_errors(notebook):
    outputs = [o for c in code_cells(notebook) for o in c["outputs"]]
    kinds = {o["output_type"] for o in outputs}
    assert "error" not in kinds and "execute_result" in kinds
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert "Traceback" not in "".join(map(text_of, outputs))


def test_outputs_name_no_path_of_a_machine(notebook):
    found = [t for c in code_cells(notebook) for t in map(text_of, c["outputs"]) if MACHINE_PATH.search(t)]
    assert not found, found[0][:300]


def test_notebooks_are_small(path):
    assert path.stat().st_size < LARGEST


def test_the_hash_changes_with_the_code_and_not_with_the_text():
    code, text = ({"cell_type": kind, "source": ["x = 1"]} for kind in ("code", "markdown"))
    first = code_hash({"cells": [code, text]})
    assert first == code_hash({"cells": [code, {**text, "source": "y"}]}) == code_hash({"cells": [code]})
    assert first != code_hash({"cells": [{**code, "source": ["x = 2"]}, text]})
    assert MACHINE_PATH.search("in /home/me/x") and not MACHINE_PATH.search("https://a.org/home/")


def test_progress_bars_leave_nothing_in_the_outputs():
    assert (
        as_on_screen("|##--| 50%\r|####| 100%\r      \repoch  loss\n|##| 100%\r0      0.1\n |#|\r   \r")
        == "epoch  loss\n0      0.1"
    )
    assert as_on_screen("|##--| 50%\r      \r") == ""
