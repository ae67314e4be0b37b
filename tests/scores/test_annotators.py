"""Masks of several annotators: their consensus, their agreement, a cohort of the consensus, a model against each."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.data import Cohort, PercentileScaling, check_cohort
from dedl_fastai.data.cache import cache_cohort
from dedl_fastai.errors import UserError
from dedl_fastai.io.masks import IGNORED, read_labels
from dedl_fastai.scores import Counts
from dedl_fastai.scores.annotators.against import score_against
from dedl_fastai.scores.annotators.cohort import write_consensus
from dedl_fastai.scores.annotators.consensus import consensus_labels, consensus_mask
from dedl_fastai.scores.whole_fields import predict_fields


def row(text: str) -> np.ndarray:
    """A mask of one row: "01.2" are background, nucleus 1, a pixel that is not known, nucleus 2."""
    return np.array([[IGNORED if c == "." else int(c) for c in text]], np.int32)


def consensus(*texts: str, rule: str = "majority") -> str:
    labels = consensus_labels([row(t) for t in texts], rule)
    return "".join("." if v == IGNORED else str(v) for v in labels[0])


def dedl(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


def save(folder: Path, **masks: np.ndarray) -> Path:
    """Write a field `a` with these masks: `mask`, or the name of an annotator."""
    for name, values in masks.items():
        file = folder / "masks" / ("" if name == "mask" else name) / "a.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, values)
    (folder / "images").mkdir()
    Image.fromarray((np.ones(values.shape) * 9).astype(np.uint8)).save(folder / "images" / "a.png")
    return folder


def squares(*corners: tuple[int, int], size: int = 8) -> np.ndarray:
    labels = np.zeros((64, 64), np.uint16)
    for i, (y, x) in enumerate(corners, 1):
        labels[y : y + size, x : x + size] = i
    return labels


def test_majority_marks_pixels_of_more_than_half_of_those_who_know():
    three = [row("111000."), row("1100.1."), row("100011.")]
    assert consensus_mask(three).tolist() == [[1, 1, 0, 0, 0, 1, IGNORED]]
    assert consensus_mask([row("10"), row("11")]).tolist() == [[1, 0]]  # a tie is background


def test_staple_trusts_an_annotator_whom_others_confirm():
    pytest.importorskip("SimpleITK")
    masks = [row("11111111" + "0" * 24), row("1111" + "0" * 28), row("00001111" + "0" * 24), row("11" + "0" * 30)]
    assert consensus_mask(masks).sum() == 2  # elsewhere half of them do, or fewer
    assert consensus_mask(masks, "staple").tolist() == masks[0].tolist()


@pytest.mark.parametrize("value", [0, 1])
def test_staple_of_equal_masks_is_that_mask(value):
    masks = [np.full((4, 4), value)] * 3
    assert (consensus_mask(masks, "staple") == value).all()


def test_rules_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="rule='mean' is unknown; it may be majority or staple"):
        consensus_mask([row("1"), row("0")], "mean")
    with pytest.raises(UserError, match="staple needs masks without pixels that are not known"):
        consensus_mask([row("1"), row(".")], "staple")
    with pytest.raises(UserError, match="shapes"):
        consensus_mask([row("1"), row("11")])


def test_nuclei_that_most_annotators_have_are_kept_and_touch_where_most_part_them():
    assert consensus("1112220003", "1111222000", "1112220300") == "1112220000"
    assert consensus("0111100000", "0111000000") == "0111000000"  # IoU 0.75; the pixel of one of two is background


def test_foreground_without_a_nucleus_of_most_annotators_is_not_known():
    one, two = "11111111", "11112222"
    assert consensus(one, one, two) == "11111111"
    assert consensus(two, one, two) == "11112222"
    assert consensus(one, one, two, two) == "........"  # a nucleus or two: an even vote
    assert consensus("11110000", "00001111", "11111111") == "........"  # IoU 0.5 is not the same nucleus


def test_who_does_not_know_a_place_has_no_vote_on_its_nuclei():
    assert consensus("1110022", "...0022", "...0000") == "1110022"
    assert consensus("1110022", "0000022", "...0000") == "0000011"


def test_nuclei_are_the_same_through_a_third_annotator():
    a, b, c = "1111100000", "0111111000", "0011111100"  # IoU a-b 4/7, b-c 5/7, a-c 3/8
    assert consensus(a, b, c) == "0111111000"


def test_kappa_is_cohens():
    assert Counts(20, 5, 10, 15).kappa == pytest.approx(0.4)  # the textbook's 50 proposals
    assert (Counts(0, 0, 0, 9).kappa, Counts(0, 9, 0, 0).kappa) == (1, 0)


def test_a_folder_of_each_annotator_becomes_a_column_and_is_checked(tmp_path):
    folder = save(tmp_path, A=squares((0, 0))[:32], B=squares((0, 0)))
    cohort = Cohort.load(folder)
    assert list(cohort.table.columns[-2:]) == ["mask_A", "mask_B"] and cohort.table["mask"][0] == ""
    assert cohort.problems == [] and "masks of 2 annotators" in repr(cohort)
    (problem,) = check_cohort(cohort)
    assert problem.path.endswith("masks/A/a.tif") and problem.what.startswith("has 32 x 64 pixels")
    with pytest.raises(UserError, match=r"masks of annotators \(A, B\), and none for training.*data consensus"):
        cohort.with_masks()
    again = Cohort.load(cohort.save(tmp_path / "cohort.csv"))
    pd.testing.assert_frame_equal(again.table, cohort.table)
    assert "masks/A/a.tif" in (tmp_path / "cohort.csv").read_text().split(",")


def test_consensus_command_writes_a_cohort_and_the_agreement(tmp_path):
    masks = {"A": squares((0, 0), (20, 0)), "B": squares((0, 0), (20, 0), (40, 0)), "C": squares((0, 0), (20, 4))}
    folder, out = save(tmp_path / "three", **masks), tmp_path / "one"
    code, output = dedl("data", "consensus", folder, "--out", out)
    assert code == 0 and "A - consensus" in output
    cohort = Cohort.load(out)
    assert np.array_equal(read_labels(cohort.with_masks().table["mask"][0]), masks["A"])
    assert "masks/a.tif" in (out / "cohort.csv").read_text() and {"mask_A", "mask_C"} <= set(cohort.table)
    agreement = pd.read_csv(out / "agreement.csv").set_index(["annotator", "other"])
    assert list(agreement.index) == [
        *(("A", "B"), ("A", "C"), ("B", "C"), ("A", "consensus"), ("B", "consensus"), ("C", "consensus")),
    ]
    a_b = agreement.loc[("A", "B")]
    assert (a_b.n_fields, a_b.n_nuclei, a_b.n_nuclei_other) == (1, 2, 3)
    assert (a_b.iou, a_b.dice, a_b.f1_50) == pytest.approx((2 / 3, 0.8, 0.8), abs=1e-6)
    chance = (128 * 192 + (4096 - 128) * (4096 - 192)) / 4096**2
    assert a_b.kappa == pytest.approx((1 - 64 / 4096 - chance) / (1 - chance), abs=1e-6)
    assert agreement.loc[("A", "C")].f1_50 == 0.5  # the second nucleus: IoU 1/3
    fields = pd.read_csv(out / "agreement_fields.csv")
    assert list(fields.field.unique()) == ["a"] and len(fields) == 6


def test_a_mask_without_ids_makes_a_consensus_without_ids(tmp_path):
    two = squares((0, 0), (20, 0))
    table = write_consensus(Cohort.load(save(tmp_path / "in", A=two, B=(two > 0).astype(np.uint8))), tmp_path / "out")
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "masks" / "a.tif"), two > 0)
    assert table.f1_50.isna().all() and (table.iou == 1).all()


def test_cohorts_without_two_annotators_are_refused_and_nothing_is_written(tmp_path):
    one = save(tmp_path / "in", mask=squares((0, 0)), A=squares((0, 0)))
    code, output = dedl("data", "consensus", one, "--out", tmp_path / "out")
    assert code == 2 and "has masks of A: masks of at least two are needed" in output
    shutil.copytree(one / "masks" / "A", one / "masks" / "B")
    code, output = dedl("data", "consensus", one, "--out", tmp_path / "out", "--rule", "mean")
    assert code == 2 and "--rule 'mean' is unknown" in output
    tifffile.imwrite(one / "masks" / "B" / "a.tif", squares((0, 0))[:32])
    code, output = dedl("data", "consensus", one, "--out", tmp_path / "out")
    assert code == 2 and "B/a.tif is 32 x 64 pixels" in output and not (tmp_path / "out").exists()
    code, output = dedl("data", "consensus", one, "--out", one)
    assert code == 2 and "exists already" in output


def test_predictions_are_scored_against_each_annotator_exactly(tmp_path):
    found = squares((0, 0), (20, 0))
    folder = save(tmp_path, mask=found, A=found, B=squares((0, 0)), C=(squares((0, 0), (20, 4)) > 0).astype(np.uint8))
    Image.fromarray((found > 0).astype(np.uint8) * 255).save(folder / "images" / "a.png")
    cohort = Cohort.load(folder)
    fields = cache_cohort(cohort, ["0"], PercentileScaling(0, 100))
    maps = predict_fields(fields, cohort.table, ["0"], lambda pixels: pixels[:1], tmp_path / "maps")
    scores = score_against(maps, cohort.table, 0.5)
    assert (scores["A"]["iou"], scores["A"]["f1_50"], scores["A"]["f1_mean"]) == (1, 1, 1)
    assert (scores["B"]["iou"], scores["B"]["f1_50"]) == (0.5, pytest.approx(2 / 3, abs=1e-6))
    assert scores["C"]["iou"] == 0.6 and "f1_50" not in scores["C"]  # without ids
    assert score_against(maps, cohort.table.drop(columns=["mask_A", "mask_B", "mask_C"]), 0.5) == {}


def test_evaluate_has_the_scores_against_each_annotator(tmp_path):
    field = squares((8, 8), (8, 40), (40, 8), size=14)
    folder = save(tmp_path / "in", mask=field, A=field, B=squares((8, 8), (8, 40), size=14))
    noise = np.random.default_rng(0).integers(0, 20, field.shape)
    Image.fromarray(((field > 0) * 180 + noise).astype(np.uint8)).save(folder / "images" / "a.png")
    code, output = dedl("evaluate", "nuclei", "--data", folder, "--channel", "0", "--out", tmp_path / "scores.json")
    assert code == 0, output
    assert "all, against each annotator" in output
    metrics = json.loads((tmp_path / "scores.json").read_text())
    against = metrics["annotators"]["all"]
    assert against["A"]["iou"] == metrics["all"]["iou"] > 0.7
    assert against["A"]["f1_50"] == metrics["objects"]["all"]["f1_50"] > against["B"]["f1_50"] > 0
