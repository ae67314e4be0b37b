"""Matching of nuclei in `evaluate`: exact counts on drawn fields, pooling, masks without ids, tables, ensembles."""

import json
import shutil
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from scipy import ndimage as ndi
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.data import Cohort
from dedl_fastai.data.cache import cache_cohort
from dedl_fastai.data.scaling import PercentileScaling
from dedl_fastai.errors import UserError
from dedl_fastai.inference.ensemble import Ensemble
from dedl_fastai.inference.load import load_run
from dedl_fastai.io import open_field, read_labels, read_mask
from dedl_fastai.io.masks import holds_ids
from dedl_fastai.runs.cells.labelled import predicted_nuclei
from dedl_fastai.runs.evaluation import evaluate_run
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg
from dedl_fastai.scores.object_matches import IOUS
from dedl_fastai.scores.objects import score_objects
from dedl_fastai.scores.whole_fields import predict_fields

from ...figures import drawn_figures
from ...options import TINY

SIZE = (48, 64)


def squares(*places, size=SIZE):
    """Return labels 1, 2, ... of rectangles (top, left, height, width)."""
    labels = np.zeros(size, np.uint16)
    for i, (y, x, h, w) in enumerate(places, 1):
        labels[y : y + h, x : x + w] = i
    return labels


TRUE_A = squares((4, 4, 10, 10), (4, 24, 10, 10), (4, 44, 10, 10))
FOUND_A = squares((4, 4, 10, 8), (4, 24, 10, 10), (30, 30, 10, 10))  # IoU 0.8, IoU 1, invented; the third is missed
TRUE_B = squares((20, 20, 10, 10))
SEVEN = squares(*((y, x, 8, 8) for y in (4, 24) for x in (4, 24, 44)), (40, 0, 4, 64))
FOUND_B = squares((20, 20, 10, 6))  # IoU 0.6


def write_cohort(folder: Path, fields: dict[str, tuple[np.ndarray, np.ndarray]], **columns) -> Path:
    """Write {field: (pixels, mask)} as PNG files, and a cohort.csv with these further columns."""
    folder.mkdir(exist_ok=True)
    for name, (pixels, mask) in fields.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
    names = list(fields)
    files = {"field": names, "image": [f"{n}.png" for n in names], "mask": [f"{n}_mask.png" for n in names]}
    pd.DataFrame({**files, **columns}).to_csv(folder / "cohort.csv", index=False)
    return folder


def pictures_of(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return {field: (grey pixels, mask)} of a cohort of pictures."""
    rows = Cohort.load(folder).table.itertuples()
    return {r.field: (np.asarray(Image.open(r.image)), np.asarray(Image.open(r.mask))) for r in rows}


@pytest.fixture
def scored(tmp_path):
    """Return a function that scores {field: (found labels, true mask)}; the image of a field shows the found labels."""

    def score(fields: dict[str, tuple[np.ndarray, np.ndarray]], patients=None):
        pictures = {n: ((found > 0).astype(np.uint8) * 255, mask) for n, (found, mask) in fields.items()}
        folder = write_cohort(tmp_path / "cohort", pictures, patient=patients or ["P"] * len(fields))
        cohort = Cohort.load(folder)
        cached = cache_cohort(cohort, ["DAPI"], PercentileScaling(0, 100))
        maps = predict_fields(cached, cohort.table, ["DAPI"], lambda pixels: pixels[:1], tmp_path / "maps")
        return score_objects(maps, 0.5)

    return score


def row(scores, iou):
    return next(r for r in scores["matching"] if r["iou"] == iou)


def counts(scores, iou):
    return tuple(row(scores, iou)[k] for k in ("tp", "fp", "fn"))


def test_two_fields_have_exact_counts_and_pooled_ratios(scored):
    found = scored({"a": (FOUND_A, TRUE_A), "b": (FOUND_B, TRUE_B)}, ["P1", "P2"])
    assert [r["iou"] for r in found["matching"]] == list(IOUS)
    assert (found["n_fields"], found["n_without_ids"], found["n_true"], found["n_predicted"]) == (2, 0, 4, 4)
    assert [counts(found, i) for i in (0.5, 0.6, 0.65, 0.8, 0.85, 0.9)] == [
        *((3, 1, 1), (3, 1, 1), (2, 2, 2), (2, 2, 2), (1, 3, 3), (1, 3, 3)),
    ]
    half = row(found, 0.5)
    assert half["f1"] == half["precision"] == half["recall"] == 0.75  # the mean of the fields would be 0.833
    assert half["ap"] == 0.6
    assert half["pq"] == pytest.approx((0.8 + 1 + 0.6) / 4)
    assert half["mean_matched_iou"] == pytest.approx(0.8)
    assert half["mean_true_score"] == pytest.approx(2.4 / 4)


def test_fields_and_patients_have_separate_counts(scored):
    found = scored({"a": (FOUND_A, TRUE_A), "b": (FOUND_B, TRUE_B), "c": (FOUND_B, TRUE_B)}, ["P1", "P2", "P2"])
    assert [(f["field"], f["patient"], f["n_true"], f["n_predicted"]) for f in found["fields"]] == [
        *(("a", "P1", 3, 3), ("b", "P2", 1, 1), ("c", "P2", 1, 1)),
    ]
    assert counts(found["fields"][0], 0.5) == (2, 1, 1)
    assert {p: counts(v, 0.5) for p, v in found["per_patient"].items()} == {"P1": (2, 1, 1), "P2": (2, 0, 0)}
    assert counts(found["per_patient"]["P2"], 0.65) == (0, 2, 2)
    for key in ("n_true", "n_predicted"):
        assert found[key] == sum(f[key] for f in found["fields"])


def test_otsu_is_matched_in_the_same_way(scored):
    found = scored({"a": (FOUND_A, TRUE_A)})
    assert found["baselines"]["otsu"]["matching"] == found["matching"]  # the image shows the found labels


def test_binary_masks_are_left_out_and_counted(scored):
    binary = (TRUE_A > 0).astype(np.uint8) * 255
    found = scored({"a": (FOUND_A, TRUE_A), "b": (FOUND_A, binary)}, ["P1", "P2"])
    assert (found["n_fields"], found["n_without_ids"], found["n_true"]) == (1, 1, 3)
    assert list(found["per_patient"]) == ["P1"] and [f["field"] for f in found["fields"]] == ["a"]
    alone = scored({"a": (FOUND_A, binary)})
    assert alone == {"part_by": "distance", "n_fields": 0, "n_without_ids": 1}


def test_a_field_with_one_nucleus_or_none_counts_where_other_masks_hold_ids(scored):
    empty = np.zeros(SIZE, np.uint16)
    one_or_none = {"b": (FOUND_B, TRUE_B), "c": (FOUND_A, empty)}
    found = scored({"a": (FOUND_A, TRUE_A), **one_or_none})
    assert [(f["n_true"], counts(f, 0.5)) for f in found["fields"]] == [(3, (2, 1, 1)), (1, (1, 0, 0)), (0, (0, 3, 0))]
    assert scored(one_or_none)["n_fields"] == 0


@pytest.mark.parametrize(
    ("mask", "has_ids"),
    [
        (TRUE_A, True),
        (TRUE_A * 0, None),
        (TRUE_B, None),
        ((TRUE_A > 0).astype(np.uint8), False),
        ((TRUE_A > 0).astype(np.uint8) * 255, False),
        (np.array([0, 1, 2, 1, 2, 1, 2, 2])[SEVEN].astype(np.uint8), False),
    ],
    ids=["ids", "empty", "one", "0 and 1", "0 and 255", "classes"],
)
def test_which_masks_hold_ids(tmp_path, mask, has_ids):
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert holds_ids(tmp_path / "m.png", read_labels(tmp_path / "m.png")) is has_ids


def test_only_one_field_at_a_time_is_in_memory(scored):
    labels = squares(*((y, x, 9, 9) for y in range(2, 390, 12) for x in range(2, 390, 12)), size=(400, 400))

    def peak(n):
        tracemalloc.start()
        assert scored({f"f{i}": (labels, labels) for i in range(n)})["n_fields"] == n
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(6) < 1.15 * peak(1)


@pytest.fixture(scope="module")
def ids_folder(tiny_folder, tmp_path_factory):
    """The tiny cohort's DAPI as grey PNG files; the connected components of its masks serve as nuclei with ids."""
    fields = {}
    for entry in Cohort.load(tiny_folder).table.itertuples():
        with open_field(entry.image) as field:
            dapi = field.read("DAPI")
        grey = np.clip(dapi / np.percentile(dapi, 99.8) * 255, 0, 255).astype(np.uint8)
        fields[entry.field] = grey, ndi.label(read_mask(entry.mask))[0].astype(np.uint16)
    return write_cohort(tmp_path_factory.mktemp("ids") / "cohort", fields)


@pytest.fixture(scope="module")
def runs(ids_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        train_seg(SegConfig.resolve({**TINY, "data": str(ids_folder), "seed": seed}), folder / str(seed))
    return [folder / "1", folder / "2"]


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


MARKS = {"valid": {"tuned_here": True}, "test": {}}  # only the run itself tuned its threshold on a split


def test_a_run_and_evaluate_agree_on_its_nuclei(runs):
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    for split in ("valid", "test"):
        again = evaluate_run(runs[0], split=split)
        assert again["objects"][split] == metrics["objects"][split]
        assert {**again[split], **MARKS[split]} == metrics[split]
    assert metrics["objects"]["test"]["n_true"] > 10 and metrics["objects"]["test"]["n_fields"] == 2


def test_an_ensemble_is_evaluated_with_the_overlap_of_its_runs(runs, tmp_path):
    folder = shutil.copytree(runs[0], tmp_path / "run")
    options = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**options, "overlap": 0.75}))
    one, twice = evaluate_run(folder), evaluate_run([folder, folder])
    assert twice["test"]["iou"] == pytest.approx(one["test"]["iou"], abs=1e-6)
    assert abs(one["test"]["iou"] - evaluate_run(runs[0])["test"]["iou"]) > 1e-5


@pytest.mark.parametrize("option", [("part_by", "distance"), ("part_by", "intensity"), ("tta", "dihedral")])
def test_evaluate_counts_the_nuclei_that_predict_writes(runs, ids_folder, tmp_path, option):
    name, value = option
    found = evaluate_run(runs[0], data=ids_folder, **{name: value})["objects"]["all"]
    images = [ids_folder / f"{f['field']}.png" for f in found["fields"]]
    flag = f"--{name.replace('_', '-')}"
    result = dedl("predict", runs[0], *images, "--out", tmp_path, "--write", "cells", flag, value)
    assert result.exit_code == 0, result.output
    cells = [len(pd.read_csv(tmp_path / f"{image.stem}_cells.csv")) for image in images]
    assert [f["n_predicted"] for f in found["fields"]] == cells and sum(cells) > 0


def test_the_command_prints_the_table_and_writes_json_and_csv(runs, tmp_path):
    result = dedl("evaluate", runs[0], "--out", tmp_path / "again.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "again.json").read_text())["objects"]["test"]
    line = next(line for line in result.stdout.splitlines() if line.startswith("IoU 0.50"))
    assert line.split()[2:] == [f"{row(found, 0.5)[k]:.4f}" for k in ("precision", "recall", "f1", "ap", "pq")]
    assert f"{found['n_true']} true, {found['n_predicted']} found" in result.stdout
    table = pd.read_csv(tmp_path / "again_objects.csv")
    assert len(table) == len(IOUS) * (2 + len(found["per_patient"]) + found["n_fields"])
    pooled = table[table.level == "all"].drop(columns=["split", "level", "patient", "field"])
    assert pooled.to_dict("records") == found["matching"]


def test_the_command_says_that_nuclei_of_binary_masks_are_not_counted(runs, tiny_folder, tmp_path):
    result = dedl("evaluate", runs[0], "--data", tiny_folder, "--out", tmp_path / "other.json")
    assert result.exit_code == 0, result.output
    assert "nuclei, all: not counted" in result.stdout and "IoU 0.50" not in result.stdout
    assert json.loads((tmp_path / "other.json").read_text())["objects"]["all"]["n_without_ids"] == 7
    assert not (tmp_path / "other_objects.csv").exists()


def test_a_channel_of_composites_is_chosen_by_name(runs, ids_folder, tmp_path):
    pictures = {}
    for name, (grey, mask) in pictures_of(ids_folder).items():
        pictures[name] = np.stack([grey * 0, grey[::-1], grey], axis=-1), mask
    composites = write_cohort(tmp_path / "rgb", pictures)
    by_blue, plain = evaluate_run(runs[0], data=composites, channel="blue"), evaluate_run(runs[0], data=ids_folder)
    assert by_blue["all"] == plain["all"] and by_blue["objects"] == plain["objects"]
    with pytest.raises(UserError, match="DAPI"):
        evaluate_run(runs[0], data=composites)
    with pytest.raises(UserError, match="sees 1 channels, not 2"):
        evaluate_run(runs[0], data=composites, channel="blue,red")


def test_dapi_of_a_composite_is_told_from_markers_in_other_colours(runs, ids_folder, tmp_path):
    pictures = {}
    for name, (grey, mask) in pictures_of(ids_folder).items():
        cyan = np.roll(grey // 2, 7, axis=1)
        dapi = grey // 2
        pictures[name] = np.stack([cyan * 0, cyan, dapi + cyan], axis=-1), dapi, mask
    composites = write_cohort(tmp_path / "rgb", {f: (rgb, mask) for f, (rgb, _, mask) in pictures.items()})
    alone = write_cohort(tmp_path / "grey", {f: (dapi, mask) for f, (_, dapi, mask) in pictures.items()})
    by_color, plain = evaluate_run(runs[0], data=composites, channel="blue-only"), evaluate_run(runs[0], data=alone)
    assert by_color["all"] == plain["all"] and by_color["objects"] == plain["objects"]
    assert evaluate_run(runs[0], data=composites, channel="blue")["all"]["iou"] < plain["all"]["iou"]

    picture = composites / f"{next(iter(pictures))}.png"
    options = ["--channel", "blue-only", "--part-by", "intensity"]
    result = dedl("predict", runs[0], picture, "--out", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    (record,) = (tmp_path / "out" / "fields").glob("*.json")
    assert json.loads(record.read_text())["channel"] == "blue-only"
    columns = list(pd.read_csv(tmp_path / "out" / f"{picture.stem}_cells.csv"))
    assert any("blue" in c for c in columns) and not any("blue-only" in c for c in columns)


def test_a_manifest_names_the_channels_of_each_file(runs, ids_folder, tmp_path):
    pictures, channels = {}, []
    for i, (name, (grey, mask)) in enumerate(pictures_of(ids_folder).items()):
        pictures[name] = (np.stack([grey, grey * 0, grey * 0], axis=-1) if i % 2 else grey), mask
        channels.append("red" if i % 2 else "")
    mixed = write_cohort(tmp_path / "mixed", pictures, channel=channels)
    for part_by in ("distance", "intensity"):
        found, plain = (evaluate_run(runs[0], data=d, part_by=part_by) for d in (mixed, ids_folder))
        assert found["all"] == plain["all"] and found["objects"] == plain["objects"]
    assert dedl("data", "check", mixed).exit_code == 0


def test_so_are_the_nuclei_whose_types_are_scored(runs, ids_folder, tmp_path):
    image = Cohort.load(ids_folder).table.image.iloc[0]
    grey = np.asarray(Image.open(image))
    Image.fromarray(np.stack([grey * 0, grey, grey * 0], axis=-1)).save(tmp_path / "c.png")
    ensemble = Ensemble.load(runs[:1])
    with open_field(tmp_path / "c.png") as field:
        labels, _, _ = predicted_nuclei(ensemble)(SimpleNamespace(channel="green"), field, pd.DataFrame())
    np.testing.assert_array_equal(labels, ensemble.segment(image))


@pytest.mark.parametrize("channel", ["DAPI", "red,green,blue"])
def test_a_run_on_coloured_files_is_trained_and_drawn(ids_folder, tmp_path, channel):
    pictures = {}
    for name, (grey, mask) in pictures_of(ids_folder).items():
        pictures[name] = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1), mask
    named = {"channel": ["red"] * len(pictures)} if channel == "DAPI" else {}
    folder = write_cohort(tmp_path / "c", pictures, **named)
    options = {**TINY, "data": str(folder), "channel": channel, "epochs": 1, "split": "random", "patient": "field"}
    with drawn_figures():
        metrics = train_seg(SegConfig.resolve(options), tmp_path / "run")
    assert metrics["objects"]["test"]["n_true"] > 0
    figures = tmp_path / "run" / "figures"
    drawn = np.asarray(Image.open(figures / "examples.png").convert("RGB"), dtype=int)
    fields = drawn[:, : drawn.shape[1] // 3]  # truth and prediction are beside them
    assert (fields[..., 0] > fields[..., 1] + 20).any() == (channel != "DAPI")
    assert (figures / "nuclei.png").is_file()


@pytest.mark.parametrize("channel, reason", [("red,green", "names 2 channels"), ("DAPI", "has no channel 'DAPI'")])
def test_wrong_channels_of_a_manifest_are_refused(runs, tmp_path, channel, reason):
    picture = np.zeros((*SIZE, 3), np.uint8), squares((5, 5, 10, 10), (25, 25, 10, 10))
    folder = write_cohort(tmp_path / "c", {"a": picture}, channel=[channel])
    result = dedl("evaluate", runs[0], "--data", folder)
    assert result.exit_code == 2 and f"{folder / 'a.png'}" in result.stderr and reason in result.stderr


def test_data_check_reads_all_channels_and_those_a_manifest_names(tmp_path):
    pages = np.zeros((2, *SIZE), np.float32)
    for name, channel, problem in (("missing", "third", "has no channel 'third'"), ("hole", "channel_0", "1 NaN")):
        folder = write_cohort(
            tmp_path / name, {"a": (pages[0].astype(np.uint8), squares((5, 5, 9, 9)))}, channel=[channel]
        )
        (folder / "a.png").unlink()
        pages[1, 3, 4] = np.nan if name == "hole" else 0
        tifffile.imwrite(folder / "a.tif", pages, photometric="minisblack")
        table = pd.read_csv(folder / "cohort.csv").assign(image="a.tif")
        table.to_csv(folder / "cohort.csv", index=False)
        result = dedl("data", "check", folder)
        assert result.exit_code == 1 and problem in result.output


def test_several_runs_are_scored_as_an_ensemble(runs, ids_folder):
    members = [evaluate_run(r, data=ids_folder) for r in runs]
    both = evaluate_run(runs, data=ids_folder)
    assert both["threshold"] == pytest.approx(np.mean([m["threshold"] for m in members]), abs=0.0026)
    assert both["objects"]["all"]["n_true"] == members[0]["objects"]["all"]["n_true"]
    assert both["all"] != members[0]["all"] and both["all"] != members[1]["all"]
    assert evaluate_run([runs[0], runs[0]], data=ids_folder) == members[0]
    assert evaluate_run(runs)["test"]["n_fields"] == 2  # their test splits are the same


def test_members_with_other_test_fields_are_refused(runs, ids_folder, tmp_path):
    train_seg(SegConfig.resolve({**TINY, "data": str(ids_folder), "epochs": 1, "split": "random"}), tmp_path / "run")
    result = dedl("evaluate", runs[0], tmp_path / "run")
    assert result.exit_code == 2 and "same test fields" in result.stderr


def test_the_command_averages_over_transformed_tiles(runs, tmp_path):
    assert dedl("evaluate", runs[0], "--tta", "flips", "--out", tmp_path / "flips.json").exit_code == 0
    flips = json.loads((tmp_path / "flips.json").read_text())
    assert flips["test"] != evaluate_run(runs[0])["test"]
    assert flips["test"] == load_run(runs[0], tta="flips").evaluate()["test"]


def test_an_unknown_tta_is_refused(runs):
    result = dedl("evaluate", runs[0], "--tta", "dihedra")
    assert result.exit_code == 2 and "none, flips, dihedral" in result.stderr


def test_an_unknown_part_by_is_refused(runs):
    result = dedl("evaluate", runs[0], "--part-by", "colour")
    assert result.exit_code == 2 and "separated by distance or intensity" in result.stderr


def test_inform_nuclei_of_a_real_export(runs, shared_data):
    ways = {p: evaluate_run(runs[0], data=shared_data / "inform_FIHC4", part_by=p) for p in ("distance", "intensity")}
    by_distance, by_intensity = (w["objects"]["all"] for w in ways.values())
    for found in (by_distance, by_intensity):
        assert (found["n_fields"], found["n_without_ids"], found["n_true"]) == (1, 0, 270)
        assert all(r["tp"] + r["fn"] == 270 for r in found["matching"])
    assert by_intensity["baselines"]["otsu"]["n_predicted"] > by_distance["baselines"]["otsu"]["n_predicted"]
    assert row(by_intensity["baselines"]["otsu"], 0.5)["f1"] > row(by_distance["baselines"]["otsu"], 0.5)["f1"] > 0.3
