"""A tiny folder of results, as `predict` writes it, for the tests of the page."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from dedl_fastai.io import write_ome_tiff

SHAPE = (600, 700)  # more than one tile, and no multiple of it
PLACES = {1: (40, 40), 2: (300, 505), 3: (100, 100), 4: (100, 130), 5: (400, 200)}  # upper left corners (y, x)
EDGE = 30  # of a nucleus; 3 and 4 touch
NAMES = ("a [1,2]", "b")


def centre(label: int) -> tuple[float, float]:
    """Centre (x, y) of a nucleus."""
    y, x = PLACES[label]
    return x + EDGE / 2, y + EDGE / 2


def write_results(folder: Path) -> Path:
    """Write results of two fields with five nuclei each: CD8 is 1, 2, 4, 8 and 16 in them."""
    labels = np.zeros(SHAPE, np.uint32)
    image = np.zeros((2, *SHAPE), np.float32)
    for i, (y, x) in PLACES.items():
        labels[y : y + EDGE, x : x + EDGE] = i
        image[:, y : y + EDGE, x : x + EDGE] = np.array([50, 2.0 ** (i - 1)])[:, None, None]
    image[0] += np.arange(SHAPE[1]) / SHAPE[1]
    types = ["t", "t", "other", "other", "other"]
    (folder / "fields").mkdir(parents=True)
    for n, name in enumerate(NAMES):
        path = folder.parent / f"{name}.ome.tif"
        write_ome_tiff(path, image, ["DAPI", "CD8"], 0.5)
        write_ome_tiff(folder / f"{name}_labels.ome.tif", labels, ["nucleus id"], 0.5)
        table = pd.DataFrame({"label": list(PLACES)})
        table["x_px"], table["y_px"] = zip(*(centre(i) for i in PLACES), strict=True)
        table["x_um"], table["y_um"] = (table["x_px"] + 0.5) / 2, (table["y_px"] + 0.5) / 2
        table["area_um2"], table["solidity"] = EDGE**2 / 4, 1.0
        table["area_px"], table["Cell CD8 mean"], table["phenotype"] = EDGE**2, [1.0, 2.0, 4.0, 8.0, 16.0], types
        table.to_csv(folder / f"{name}_cells.csv", index=False)
        (folder / "fields" / f"{name}.json").write_text(json.dumps(_record(name, path, n)))
        Image.new("RGB", (64, 48)).save(folder / "fields" / f"{name}.jpg")
    return folder


def _region(x0: int, uncertainty: float) -> dict:
    box = {"x0": x0, "y0": 0, "x1": x0 + 350, "y1": SHAPE[0]}
    return {**box, "cells": 3, "area": EDGE**2, "uncertainty": uncertainty, "doubt": 0.1}


def _record(name: str, image: Path, n: int) -> dict:
    mm2 = SHAPE[0] * SHAPE[1] * 0.25 / 1e6
    return {
        "field": name,
        "image": str(image),
        "cells": 5,
        "per_mm2": 5 / mm2,
        "area_mm2": mm2,
        "uncertainty": 0.1 * (n + 1),
        "threshold": 0.5,
        "phenotypes": {"t": {"cells": 2, "per_mm2": 2 / mm2}, "other": {"cells": 3, "per_mm2": 3 / mm2}},
        "phenotyping": "",
        "scale": {"factor": 1.0, "by": "none", "agreement": []},
        "kinds": ["labels", "cells"],
        "areas": {"unit": "px", "counts": [0]},
        "regions": [_region(x0, uncertainty=0.1 * (n + 1) + x0 / 1e4) for x0 in (0, 350)],
        "settings": {},
        "made": {},
    }
