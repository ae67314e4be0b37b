"""The class of all commands: options by topic in the help, and the library's arguments named as flags in messages."""

import dataclasses
import io
import logging
import re

import pytest

from dedl_fastai.cli.command import FlagFormatter, with_flags
from dedl_fastai.predict.options import CellOptions, ModelOptions
from dedl_fastai.runs.options.base import flag_of
from dedl_fastai.runs.options.clf import ClfConfig
from dedl_fastai.runs.options.seg import SegConfig

from ..options import tiny_flags
from .results import dedl

FLAGS = {"loss": "--loss", "ring_um": "--ring", "limit_fields": "--limit-fields", "lr": "--lr", "out": "--out"}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("loss='x' is unknown.", "--loss 'x' is unknown."),
        ("ring_um=-1: at least 0.", "--ring -1: at least 0."),
        ("leave `ring_um` out", "leave --ring out"),
        ("`loss`, `limit_fields`: both", "--loss, --limit-fields: both"),
        ("(loss='x', lr=0.1)", "(--loss 'x', --lr 0.1)"),
        ("out=RUN `loss`", "--out RUN --loss"),
        ("gamma=2 and `gamma`", "gamma=2 and `gamma`"),  # the command has no such option
        ("`dedl-fastai data check`", "`dedl-fastai data check`"),
        ("was started with lr = 0.1, not 0.2", "was started with lr = 0.1, not 0.2"),
        ("runs/lr=0.1 is in use", "runs/lr=0.1 is in use"),  # a folder's name
        ("grid-lr=0.1 and my_loss=3", "grid-lr=0.1 and my_loss=3"),
        ("loss= is empty", "loss= is empty"),
        ("", ""),
    ],
)
def test_arguments_become_flags_and_other_text_stays(message, shown):
    assert with_flags(message, FLAGS) == shown


def test_a_log_line_is_formatted_before_its_arguments_become_flags():
    record = logging.LogRecord("dedl_fastai", logging.INFO, "", 0, "no `%s`: %s=%g", ("loss", "lr", 0.1), None)
    assert FlagFormatter(FLAGS).format(record) == "no --loss: --lr 0.1"


def topics_and_flags(*command: str) -> dict[str, list[str]]:
    """The topics of a command's help in their order, each with the first flag of its lines."""
    result = dedl(*command, "--help")
    assert result.exit_code == 0
    topics: dict[str, list[str]] = {}
    for line in result.stdout.splitlines():
        if heading := re.fullmatch(r"(\S.*):", line):
            topics[heading[1]] = []
        elif topics and (flag := re.match(r"  (?:-\w, )?(--[a-z0-9-]+)", line)):
            topics[next(reversed(topics))].append(flag[1])
    return topics


@pytest.mark.parametrize(
    ("command", "classes"),
    [("seg", [SegConfig]), ("clf", [ClfConfig]), ("predict", [CellOptions, ModelOptions])],
)
def test_help_lists_every_option_once_under_its_topic(command, classes):
    topics = topics_and_flags(command)
    shown = [flag for flags in topics.values() for flag in flags]
    assert len(shown) == len(set(shown))
    for options in classes:
        for field in dataclasses.fields(options):
            assert flag_of(field) in topics[field.metadata["topic"]]


@pytest.mark.parametrize(("command", "options"), [("seg", SegConfig), ("clf", ClfConfig), ("predict", CellOptions)])
def test_topics_are_in_the_order_of_the_options_between_arguments_and_other_options(command, options):
    shown = list(topics_and_flags(command))
    first = ["Arguments"] if command == "predict" else []
    last = ["Clusters", "Options"] if command == "predict" else ["Options"]
    assert shown == [*first, *(t for t in options.topics if t in shown), *last]


def test_a_command_without_topics_lists_arguments_and_options():
    assert list(topics_and_flags("evaluate")) == ["Arguments", "Options"]


def test_an_error_of_the_library_reaches_the_user_of_seg_with_the_flag(tiny_folder, tmp_path):
    result = dedl(*tiny_flags(tiny_folder, tmp_path / "run"), "--limit-fields", "-1")
    assert result.exit_code == 2
    assert result.stderr == "error: --limit-fields -1: it cannot be negative.\n"


def test_an_error_of_the_library_reaches_the_user_of_predict_with_a_flag_of_another_name(run, images, tmp_path):
    result = dedl("predict", run, images[0], "--out", tmp_path / "out", "--ring", "-1")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --ring -1 --radius 30: ") and "_um" not in result.stderr


def test_a_log_line_of_the_library_names_the_flag_while_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("dedl_fastai.runs.cohort.DEMO_SIZE", (64, 64))
    monkeypatch.setattr("dedl_fastai.runs.cohort.DEMO_FIELDS", 7)
    handler, plain = logging.StreamHandler(io.StringIO()), logging.Formatter("%(message)s")
    handler.setFormatter(plain)
    logging.getLogger().addHandler(handler)
    try:
        assert dedl("seg", "--out", tmp_path / "run", "--encoder", "resnet19").exit_code == 2
    finally:
        logging.getLogger().removeHandler(handler)
    assert handler.formatter is plain
    lines = handler.stream.getvalue().splitlines()
    line = next(line for line in lines if "--data" in line)
    assert "--preset demo" in line and "`data`" not in line and "preset=" not in line
