"""A few of the kills of `kills`: a command that is killed and repeated ends as if it had not been killed."""

import random
import shutil

import pytest

from .kills import Campaign, commands, make_data


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """A function that starts the campaign of a command; that of seg gives the run which predict applies."""
    home = tmp_path_factory.mktemp("kills")
    data, many = make_data(home)
    started = {}

    def of(name):
        if name == "predict":
            of("seg")
        if name not in started:
            place = home / name
            place.mkdir()
            started[name] = Campaign(commands(data, many, place, home / "run")[name], place)
            started[name].prepare()
            if name == "seg":
                shutil.copytree(started[name].out, home / "run")
        return started[name]

    return of


@pytest.mark.parametrize(("name", "times"), [("seg", 1), ("predict", 2), ("grid", 1)])
def test_a_command_that_is_killed_and_repeated_ends_as_if_it_were_not(campaign, name, times):
    started = campaign(name)
    assert len(started.operations) > 50
    for n in random.Random(1).sample(range(1, len(started.operations) + 1), times):
        started.kill(n)
    assert not started.faults
