"""`dedl-fastai report`: the page again, and the report for the SITC checklist from results and runs."""

import json
import re
import shutil

import pytest

from dedl_fastai.io.corrections import Action
from dedl_fastai.predict.corrections import append
from dedl_fastai.predict.sitc import HUMAN, REFERENCES, TOPICS

from .results import dedl


def section(text: str, title: str) -> str:
    return re.search(rf"^## {title}$(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)[1]


@pytest.fixture
def report(results, run):
    """The text of the report of results, with the run."""
    assert dedl("report", results, run, "--sitc").exit_code == 0
    return (results / "sitc.md").read_text(encoding="utf-8")


def test_the_page_is_written_again(results):
    page = (results / "report.html").read_bytes()
    (results / "report.html").unlink()
    result = dedl("report", results)
    assert result.exit_code == 0 and result.stdout == f"report: {results}/report.html\n"
    assert (results / "report.html").read_bytes() == page


def test_every_topic_is_filled_or_left_to_a_human(report):
    rows = dict(re.findall(r"^\| (.+?) \| [\[\]\d ]+ \| (.+) \|$", report, re.MULTILINE))
    assert list(rows) == [t.title for t in TOPICS]
    for topic in TOPICS:
        assert (HUMAN in rows[topic.title]) == bool(topic.missing)
        assert (f"**{HUMAN.capitalize()}**: {topic.missing}." in section(report, topic.title)) == bool(topic.missing)
    assert rows["Image registration"] == HUMAN and rows["Analysis programs and source code"] == "filled"


def test_articles_of_topics_are_in_the_references(report):
    assert {n for t in TOPICS for n in t.articles} == set(range(1, len(REFERENCES) + 1))
    assert report.endswith("\n".join(f"{n}. {text}" for n, text in enumerate(REFERENCES, 1)) + "\n")


def test_images_and_settings_are_those_of_the_records(report, results):
    records = [json.loads(p.read_text()) for p in (results / "fields").glob("*.json")]
    assert "Channels of 3 fields: DAPI, CXCR3 (Opal 520)," in section(report, "Staining and analytical validation")
    assert "3 fields: inform, 96 x 128 pixels, 0.4971 um per pixel" in section(report, "Image acquisition")
    assert f"{sum(r['cells'] for r in records)} nuclei." in section(report, "Image selection")
    assert f"Threshold of the probability: {records[0]['threshold']:g}." in section(report, "Cell segmentation")
    assert "within 30 um" in section(report, "Spatial analysis")


def test_scores_have_intervals_and_stand_beside_baselines(report, run):
    metrics, text = json.loads((run / "metrics.json").read_text()), section(report, "Algorithm verification")
    low, high = metrics["test"]["intervals"]["iou"]
    assert f"| this model | {metrics['test']['iou']:.3f} ({low:.3f} to {high:.3f}) |" in text and "| otsu |" in text
    splits = [row["split"] for row in json.loads((run / "splits.json").read_text())["fields"].values()]
    assert f"train {splits.count('train')} fields of {splits.count('train')} patients" in text


def test_rules_and_cut_offs_are_listed(report, results):
    gates, text = json.loads((results / "gates.json").read_text())["groups"]["all"], section(report, "Phenotyping")
    assert "- Rule: `b = CD19+ CD4-`." in text
    assert re.findall(r"Cut-off of (\w+): ", text) == list(gates)


def test_corrections_by_hand_are_counted(results, run):
    name = next(iter(sorted(p.stem for p in (results / "fields").glob("*.json"))))
    for i, action in enumerate([Action("delete", (1,)), Action("delete", (2,)), Action("undo"), Action("check")]):
        append(results, name, action, i)
    assert dedl("report", results, run, "--sitc").exit_code == 0
    text = section((results / "sitc.md").read_text(), "Algorithm verification")
    assert "Corrections by hand: 1 delete. 1 field of 3 checked, in whole or in part." in text


def test_a_model_whose_folder_is_not_given_is_named(results, tmp_path):
    assert dedl("report", results, "--sitc", "--out", tmp_path / "r.md").exit_code == 0
    assert "- Model `run (best, " in (text := (tmp_path / "r.md").read_text()) and "give its folder" in text
    assert "| this model |" not in text


def test_a_renamed_run_is_known_by_its_weights(results, run, tmp_path):
    renamed = shutil.copytree(run, tmp_path / "other (old)")
    assert dedl("report", results, renamed, "--sitc").exit_code == 0
    assert "| this model |" in (results / "sitc.md").read_text()


def test_images_that_were_moved_are_left_out(results, run, tmp_path):
    for record in (results / "fields").glob("*.json"):
        record.write_text(json.dumps({**json.loads(record.read_text()), "image": str(tmp_path / "gone.tif")}))
    assert dedl("report", results, run, "--sitc").exit_code == 0
    assert f"| Image acquisition | [2] [3] | {HUMAN} |" in (results / "sitc.md").read_text()


def test_a_run_alone_is_described(tmp_path):
    assert dedl("report", "nuclei", "--sitc", "--out", tmp_path / "r.md").exit_code == 0
    text = (tmp_path / "r.md").read_text()
    assert "223 fields of 102 patients" in text and f"| Image selection | [3] | {HUMAN} |" in text


def test_folders_that_do_not_belong_together_are_refused(results, finished, run, tmp_path):
    (tmp_path / "empty" / "fields").mkdir(parents=True)
    for folders, why in [
        ([results, "nuclei"], f"nuclei is not a model that {results} was made with: it was made with run (best, "),
        ([results, finished], "are both results"),
        ([tmp_path / "empty"], "has no finished field"),
        ([tmp_path / "none"], "does not exist"),
    ]:
        result = dedl("report", *folders, "--sitc", "--out", tmp_path / "r.md")
        assert result.exit_code == 2 and why in result.stderr and not (tmp_path / "r.md").exists()
    result = dedl("report", run)
    assert result.exit_code == 2 and "--sitc describes runs" in result.stderr and not (run / "report.html").exists()
