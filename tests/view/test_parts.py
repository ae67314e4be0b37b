"""Parts of the page's server: reduced tiles, overviews, the table of cells, and actions that come at the same time."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.io import write_ome_tiff
from dedl_fastai.io.corrections import Action
from dedl_fastai.predict.corrections import log_file, read_actions
from dedl_fastai.view.cells import Cells
from dedl_fastai.view.corrector import Corrector
from dedl_fastai.view.kept import Kept
from dedl_fastai.view.pyramid import Pyramid, n_levels, reduced
from dedl_fastai.view.results import ResultsView

from .results_folder import NAMES, centre, write_results

WIDE = (40, 2100)  # its overview is made in the background, as that of a slide


def test_levels_halve_a_field_until_it_is_one_tile():
    assert [n_levels(shape) for shape in ((10, 512), (513, 10), (1408, 1876), (20_000, 20_000))] == [0, 1, 2, 6]


def test_reduced_pixels_are_means():
    pixels = np.arange(15, dtype=np.float32).reshape(3, 5)
    assert reduced(pixels, 2).tolist() == [[3, 5, 6.5], [10.5, 12.5, 14]]


@pytest.mark.parametrize("has_levels", [False, True])
def test_tiles_of_all_levels_are_means_of_the_field(tmp_path, has_levels):
    pixels = np.random.default_rng(0).random((2, *WIDE)).astype(np.float32)
    write_ome_tiff(tmp_path / "f.ome.tif", pixels, ["A", "B"], pyramid=has_levels, tile=256)
    pyramid = Pyramid(tmp_path / "f.ome.tif", None, Kept(1 << 24))
    for level in range(4):
        wait_for(lambda: pyramid.done(1) == 1)
        tiles = [pyramid.tile(1, level, x=x, y=0) for x in range(-(-WIDE[1] // (512 << level)))]
        whole = np.concatenate(tiles, axis=1)
        columns = WIDE[1] // 2**level  # the last mean may be of fewer columns
        np.testing.assert_allclose(whole[:, :columns], reduced(pixels[1], 2**level)[:, :columns], atol=1e-6)
    assert pyramid.sample(1).max() <= 1
    pyramid.close()


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_arrays_that_were_not_used_for_long_are_dropped():
    kept = Kept(3000)
    for i in range(3):
        kept.add(i, np.zeros(1000, np.uint8))
    assert kept.get(0) is not None
    kept.add(3, np.zeros(1000, np.uint8))
    assert [kept.get(i) is not None for i in range(4)] == [True, False, True, True] and kept.bytes == 3000


def test_rows_of_the_table_are_found_by_label_and_by_place(tmp_path):
    path = tmp_path / "f_cells.csv"
    path.write_text('label,x_px,y_px,phenotype,"a, b",seen\n7,10,20,"t, u",0.123456789,True\n3,30,8,,,False\n')
    cells = Cells(path)
    cells.wait(10)
    assert cells.row(7) == {"label": 7, "x_px": 10, "y_px": 20, "phenotype": "t, u", "a, b": 0.123457, "seen": True}
    assert cells.row(3) == {"label": 3, "x_px": 30, "y_px": 8, "seen": False} and cells.row(5) == cells.row(9) == {}
    assert cells.types == ["t, u"] and cells.type_codes[[3, 7]].tolist() == [0, 1]
    label, row, column = cells.inside((0, 0, 3, 8), level=3)
    assert (label.tolist(), row.tolist(), column.tolist()) == ([7, 3], [2, 1], [1, 3])
    nothing = Cells(tmp_path / "g_cells.csv")
    nothing.wait(10)
    assert nothing.is_ready and nothing.row(1) == {} and len(nothing.inside((0, 0, 9, 9), 0)[0]) == 0


def test_that_types_have_a_probability_is_known_before_the_table_is_read(tmp_path, monkeypatch):
    path = tmp_path / "f_cells.csv"
    path.write_text("label,x_px,y_px,phenotype_probability\n7,10,20,0.5\n")
    monkeypatch.setattr(Cells, "_read", lambda self: None)
    assert Cells(path).has_probability and not Cells(tmp_path / "g_cells.csv").has_probability
    path.write_text("")
    assert not Cells(path).has_probability


def test_of_actions_that_come_at_the_same_time_one_happens(tmp_path):
    folder = write_results(tmp_path / "res")
    corrector = Corrector(folder, NAMES[0])

    def delete(label):
        try:
            return corrector.act(Action("delete", (label,), (centre(label),)), after=0).revision
        except UserError as e:
            return str(e)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(delete, [1, 2, 3, 4]))
    corrector.close()
    assert answers.count(1) == 1 and sum("changed" in str(a) for a in answers) == 3
    assert len(read_actions(folder, NAMES[0])) == 1


def test_fields_that_were_not_looked_at_for_long_are_closed_and_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("dedl_fastai.view.results._MOST_OPEN", 1)
    results = ResultsView(write_results(tmp_path / "res"))
    results.field(NAMES[0]).act(Action("delete", (1,), (centre(1),)), after=0)
    results.field(NAMES[1]).about()
    assert log_file(results.folder, NAMES[0]).with_name(f"{NAMES[0]}.ome.tif").is_file()
    assert results.field(NAMES[0]).at(*centre(1)) == {"label": 0}
    results.close()
