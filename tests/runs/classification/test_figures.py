"""Figures of a classification run: contents, few items, constant classes, and the choice of examples."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from dedl_fastai.runs.classification.figures import (
    calibration_figure,
    draw_clf_figures,
    examples_figure,
    label_lines,
    label_sets_figure,
    pick_examples,
    precision_recall_figure,
)
from dedl_fastai.runs.figures import save_figure

pytestmark = pytest.mark.usefixtures("drawn")


def case(n: int = 30, k: int = 5, seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, k)) < 0.5
    truth[:, 0] = True
    truth[:, -1] = False
    pictures = rng.random((n, 3, 12, 16))
    names = [f"field {i}" for i in range(n)]
    return np.clip(0.4 * truth + 0.6 * rng.random((n, k)), 0, 1), truth, [f"type{i}" for i in range(k)], pictures, names


def texts(figure: Figure) -> str:
    return "\n".join(t.get_text() for ax in figure.axes for t in (*ax.texts, ax.title, ax._left_title))


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_one_precision_recall_panel_per_class(tmp_path, k):
    p, truth, vocab, *_ = case(k=k)
    figure = precision_recall_figure(p, truth, np.linspace(0.3, 0.7, k), vocab)
    assert len(figure.axes) == k
    save_figure(figure, tmp_path / "pr.png", dpi=40)
    assert (tmp_path / "pr.png").stat().st_size > 1000


def test_constant_classes_have_a_note_instead_of_a_curve():
    p, truth, vocab, *_ = case()
    figure = precision_recall_figure(p, truth, 0.5, vocab)
    assert "always present" in texts(figure) and "never present" in texts(figure)
    lines = [[label.get_text() for label in ax.get_legend().get_texts()] for ax in figure.axes]
    assert lines[0] == ["constant 1.00"]
    assert lines[1][0] == f"constant {truth[:, 1].mean():.2f}" and lines[1][1].startswith("AP ")


def test_threshold_above_all_probabilities_has_no_point():
    p, truth, vocab, *_ = case()
    figure = precision_recall_figure(p, truth, 1.01, vocab)
    assert not any("threshold" in t.get_text() for ax in figure.axes for t in ax.get_legend().get_texts())


@pytest.mark.parametrize("n", [1, 30])
def test_calibration_has_a_curve_and_counts(tmp_path, n):
    p, truth, vocab, *_ = case(n)
    figure = calibration_figure(p, truth, vocab)
    assert len(figure.axes) == 2
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == truth.size
    save_figure(figure, tmp_path / "calibration.png", dpi=40)
    assert (tmp_path / "calibration.png").stat().st_size > 1000


def test_label_sets_count_every_item(tmp_path):
    p, truth, vocab, *_ = case(200)
    for most in (3, 10, 100):
        figure = label_sets_figure(p >= 0.5, truth, vocab, most)
        (ax,) = figure.axes
        table = ax.images[0].get_array()
        assert table.sum() == 200 and len(table) <= most
    save_figure(figure, tmp_path / "sets.png", dpi=40)
    assert (tmp_path / "sets.png").stat().st_size > 1000


def test_label_sets_of_a_worked_example():
    truth = np.array([[1, 0], [1, 0], [0, 0]], bool)
    predicted = np.array([[1, 0], [1, 1], [0, 0]], bool)
    (ax,) = label_sets_figure(predicted, truth, ["a", "b"]).axes
    sets = [t.get_text() for t in ax.get_yticklabels()]
    assert sets == ["a", "none", "a, b"]
    assert ax.images[0].get_array().tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert "67%" in ax.get_title()


def test_examples_of_a_worked_example():
    truth = np.array([[1, 0], [1, 0], [1, 0], [1, 0]], bool)
    p = np.array([[0.6, 0.2], [0.9, 0.1], [0.05, 0.1], [0.9, 0.6]])
    assert pick_examples(p, truth, 0.5, 2) == {"right": [1, 0], "wrong": [2, 3], "least sure": [0, 3]}


def test_label_lines_mark_right_and_wrong_labels():
    lines = label_lines(
        np.array([0.9, 0.8, 0.2, 0.1]), np.array([1, 0, 1, 0], bool), np.full(4, 0.5), ["a", "b", "c", "d"]
    )
    assert lines.splitlines() == ["+ 0.90 a", "! 0.80 b", "- 0.20 c", "  0.10 d"]


@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("shape", [(12, 16), (1, 12, 16), (7, 12, 16), (12, 16, 3)])
def test_examples_have_three_rows(n, shape):
    p, truth, vocab, _, names = case(n)
    pictures = np.random.default_rng(0).random((n, *shape))
    figure = examples_figure(pictures, names, probabilities=p, truth=truth, thresholds=0.5, vocab=vocab, columns=3)
    assert len(figure.axes) == 9
    assert sum(len(ax.images) for ax in figure.axes) >= min(n, 3)


def test_only_the_pictures_shown_are_read():
    p, truth, vocab, pictures, names = case(40)
    read = []

    class Lazy:
        def __getitem__(self, i):
            read.append(i)
            return pictures[i]

    examples_figure(Lazy(), names, probabilities=p, truth=truth, thresholds=0.5, vocab=vocab)
    assert 0 < len(read) <= 12


def test_all_figures_are_written(tmp_path):
    p, truth, vocab, pictures, names = case()
    draw_clf_figures(
        p,
        truth,
        thresholds=np.full(5, 0.5),
        vocab=vocab,
        pictures=pictures,
        names=names,
        path_of=lambda name: tmp_path / "figures" / f"{name}.png",
    )
    files = {f.name: f.stat().st_size for f in (tmp_path / "figures").iterdir()}
    assert set(files) == {"precision_recall.png", "calibration.png", "label_sets.png", "examples.png"}
    assert min(files.values()) > 5000
