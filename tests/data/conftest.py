"""Fixtures of the data tests: cohorts without files, and small pictures with masks on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dedl_fastai.data import Cohort


@pytest.fixture
def touch(tmp_path) -> Callable:
    """Create files of a few bytes in the test's folder, for tests of layouts, which only use file names."""

    def make(*names: str) -> Path:
        for name in names:
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"some bytes")
        return tmp_path

    return make


@pytest.fixture
def listed(tmp_path) -> Callable:
    """Build a cohort without files from {patient: number of fields} and the splits of its fields."""

    def make(sizes: dict[str, int], splits: Sequence[str] | str = "") -> Cohort:
        rows = [(f"{p}_{i}", p) for p, n in sizes.items() for i in range(n)]
        table = pd.DataFrame(rows, columns=["field", "patient"]).sort_values("field", ignore_index=True)
        return Cohort(table.assign(image="i", mask="m", labels="", split=splits), tmp_path, "manifest")

    return make


@pytest.fixture
def pictures(tmp_path) -> Callable:
    """Write a cohort of images/ and masks/ from {field: (pixels, mask)} and {field: split}."""

    def make(fields: dict[str, tuple[np.ndarray, np.ndarray]], splits: dict[str, str]) -> Cohort:
        rows = []
        for name, (pixels, mask) in fields.items():
            for folder, array in (("images", pixels), ("masks", mask)):
                (tmp_path / folder).mkdir(exist_ok=True)
                Image.fromarray(array).save(tmp_path / folder / f"{name}.png")
            rows.append({"image": f"images/{name}.png", "mask": f"masks/{name}.png", "split": splits[name]})
        pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
        return Cohort.load(tmp_path)

    return make


@pytest.fixture
def two_fields(pictures) -> Cohort:
    """A training and a validation field of 64 x 64 pixels; nuclei cover a half and a quarter of them."""
    pixels = {"a": np.zeros((64, 64), np.uint8), "b": np.full((64, 64), 10, np.uint8)}
    pixels["a"][:, 32:] = 200
    pixels["b"][32:] = 50
    masks = {name: np.zeros((64, 64), np.uint8) for name in pixels}
    masks["a"][:, 32:] = 255
    masks["b"][:32, :32] = 255
    return pictures({n: (pixels[n], masks[n]) for n in pixels}, {"a": "train", "b": "valid"})
