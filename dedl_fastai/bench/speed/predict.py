"""`predict_cost`: processor time of the whole command `predict`, and the share of each of its stages."""

import cProfile
import pstats
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...io.fields.readers import open_field
from ...io.ome_tiff import write_ome_tiff
from ...models.names import NUCLEI
from .process import in_own_process, peak_mb

_STAGES = {  # the functions that stand for them, as (module, name)
    "reading": ("pixels.py", "__getitem__"),
    "network": ("segmenter.py", "predict_tiles"),
    "nuclei": ("watershed.py", "find_nuclei"),
    "measurement": ("measure.py", "measure_cells"),
    "table": ("csv_file.py", "write_csv"),
    "outlines and GeoJSON": ("geojson.py", "write_geojson"),
    "images": ("ome_tiff.py", "write_ome_tiff"),
    "record and report": ("record.py", "write_record"),
}


def predict_cost(
    run: str = NUCLEI,
    inputs: Sequence[str] = (),  # images or folders; default: synthetic fields
    engine: str = "torch",
    amp: str = "no",
    size: int = 1400,  # edge of the two synthetic fields
    jobs: int = 1,
) -> dict[str, Any]:
    """Measure a prediction with the default outputs, in a process of its own, from its start to the report.

    Seconds are processor time, except for `wall_seconds`. The stages are those of a profile, which costs a few percent;
    with several jobs they are left out, because a profile sees one thread.
    """
    with tempfile.TemporaryDirectory(prefix="dedl-bench-") as own:
        given = list(inputs) or _synthetic_fields(Path(own), size)
        started = time.perf_counter()
        found = in_own_process(_predict, run, given, str(Path(own) / "out"), {"engine": engine, "amp": amp}, jobs)
        wall = time.perf_counter() - started
    head = {"run": str(run), "engine": engine, "amp": amp, "jobs": jobs}
    speed = {"wall_seconds": round(wall, 2), "megapixels_per_second": round(found["megapixels"] / wall, 4)}
    return head | found | speed


def _synthetic_fields(folder: Path, size: int) -> list[str]:
    from .slide import made_up_dapi  # builds networks too: the process that is measured must not import it

    plane = made_up_dapi(size)
    paths = [folder / f"field{i}.ome.tif" for i in range(2)]
    for i, path in enumerate(paths):
        write_ome_tiff(path, np.roll(plane, 37 * i, axis=1)[None], ["DAPI"], 0.5)
    return list(map(str, paths))


def _predict(run: str, inputs: list[str], out: str, how: dict[str, Any], jobs: int) -> dict[str, Any]:
    """Predict in this process, which has done nothing else so far, and return its costs."""
    from ...predict.cells import predict_cells
    from ...predict.options import CellOptions, ModelOptions
    from ...predict.record import read_records

    start_up = time.process_time()
    profile = cProfile.Profile(time.process_time)
    arguments = ([run], inputs, out, CellOptions(jobs=jobs), ModelOptions(**how))
    failed = predict_cells(*arguments) if jobs > 1 else profile.runcall(predict_cells, *arguments)
    seconds = time.process_time()
    records = read_records(Path(out))
    pixels = [_pixels(r["image"]) for r in records]
    costs = {
        "fields": len(records),
        "left_out": len(failed),
        "megapixels": round(sum(pixels) / 1e6, 3),
        "cells": sum(r["cells"] for r in records),
        "seconds": round(seconds, 2),
        "peak_mb": peak_mb(),
    }
    if jobs > 1:
        return costs
    stages = {"start-up": start_up, **_stage_seconds(profile)}
    stages["other"] = seconds - sum(stages.values())
    share = round(stages["network"] / seconds, 3)
    return costs | {"stages": {k: round(v, 2) for k, v in stages.items()}, "network_share": share}


def _pixels(image: str) -> int:
    with open_field(image) as field:
        height, width = field.shape
        return height * width


def _stage_seconds(profile: cProfile.Profile) -> dict[str, float]:
    stats: dict[tuple[str, int, str], tuple] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    found = {(Path(file).name, name): values[3] for (file, _, name), values in stats.items()}  # 3: cumulative seconds
    return {stage: found.get(place, 0.0) for stage, place in _STAGES.items()}
