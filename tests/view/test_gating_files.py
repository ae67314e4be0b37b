"""Tiles of outlines ask for the cells above a cut-off many times in a second."""

import time

import pandas as pd

from dedl_fastai.view import gating
from dedl_fastai.view.gating import Gating


def test_tiles_look_at_the_files_of_all_fields_once_a_second(tmp_path, monkeypatch):
    names = [f"field{i}" for i in range(5)]
    for name in names:
        cells = {"label": [1, 2, 4], "y_px": 0.0, "x_px": 0.0, "Nucleus CD3 mean": [1.0, 5.0, 9.0]}
        pd.DataFrame(cells).to_csv(tmp_path / f"{name}_cells.csv", index=False)
    now, looked = [100.0], []
    look = gating.stamp_of
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(gating, "stamp_of", lambda path: looked.append(path) or look(path))
    gates = Gating(tmp_path, names)
    assert [gates.positive("CD3", "field0", 4.0).tolist() for _ in range(3)] == [[False, False, True, False, True]] * 3
    assert len(looked) == 5
    pd.read_csv(tmp_path / "field0_cells.csv").head(2).to_csv(tmp_path / "field0_cells.csv", index=False)
    now[0] += 1
    assert gates.positive("CD3", "field0", 4.0).tolist() == [False, False, True]
    assert len(looked) == 10
    gates.counts("CD3", "field0", 4.0)  # what is counted is always that of the files
    assert len(looked) == 15
