"""A run whose network is kept in another form, and an empty cache for it."""

import pytest

from .stored_runs import run_of


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder that can predict, and an empty cache."""
    monkeypatch.setenv("DEDL_CACHE", str(tmp_path / "cache"))
    return run_of(tmp_path / "run")
