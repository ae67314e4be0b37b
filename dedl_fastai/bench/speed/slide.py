"""`slide_cost`: memory and time of the prediction of a whole slide; `window_overhead`: time of the window in it."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import nn

from ...data.demo.cells import scatter_cells
from ...data.demo.render import render_field
from ...data.scaling import PercentileScaling
from ...data.segmentation.facts import SegFacts
from ...inference.ensemble import Ensemble
from ...inference.field_cells import predict_field
from ...inference.scratch import Computed
from ...inference.segmenter import Segmenter
from ...inference.window import window_batches
from ...io.ome_tiff import write_ome_tiff
from ...models.device import pick_device
from ...models.segmentation import SegSpec, create_seg_model
from ...phenotypes.rules import Rules
from ...training.model_card import seg_model_card
from ...training.run_folder import RunFolder
from .process import in_own_process, peak_mb

_BLOCK = 1024  # edge of the block that a synthetic slide repeats


class _Network(TypedDict):
    """Encoder and decoder channels of a network."""

    encoder: str
    depth: int
    decoder: tuple[int, ...]


TINY: _Network = {"encoder": "tu-test_resnet", "depth": 2, "decoder": (16, 16)}


class SureOfNuclei(nn.Module):
    """An untrained network that is computed in full, with the brightness of the first channel as the result."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (b, 2, t, t)."""
        nuclei = 20 * (x[:, :1] - 0.4)
        return torch.cat([-nuclei, nuclei], dim=1) + 1e-6 * self.network(x)


def slide_cost(
    size: int = 20000,  # edge of the slide
    arch: str = "unet",
    encoder: str = TINY["encoder"],
    depth: int = TINY["depth"],
    decoder: tuple[int, ...] = TINY["decoder"],
    tile: int = 480,
    device: str = "auto",
    folder: str | Path | None = None,  # for the slide and temporary files; None: the system's
) -> dict[str, Any]:
    """Measure time, peak memory and disk space of a prediction from file to cells, in a separate process.

    The slide is a synthetic, tiled and compressed OME-TIFF of size x size pixels, full of nuclei.
    """
    with tempfile.TemporaryDirectory(prefix="dedl-bench-", dir=folder) as own:
        slide = made_up_slide(Path(own) / "slide.ome.tif", size)
        spec = SegSpec(arch, encoder, depth, tuple(decoder))
        return in_own_process(_predict_slide, slide, spec, tile, device)


def made_up_slide(path: Path, size: int) -> Path:
    """Write a 16-bit DAPI slide of size x size pixels in compressed tiles: one block of nuclei, repeated."""
    block = made_up_dapi(_BLOCK)

    def read(channel: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        return block[np.ix_(np.arange(y0, y1) % _BLOCK, np.arange(x0, x1) % _BLOCK)]

    shape = (1, size, size)
    write_ome_tiff(path, read, ["DAPI"], 0.5, labels=False, pyramid=False, shape=shape, dtype=np.uint16)
    return path


def made_up_dapi(edge: int) -> np.ndarray:
    """Return the DAPI channel of a synthetic field as uint16 (edge, edge)."""
    rng = np.random.default_rng(0)
    planes, _ = render_field(rng, (edge, edge), scatter_cells(rng, (edge, edge), 0.5, Rules.load("vanburen3")))
    dapi = next(plane for name, plane in planes.items() if name.upper().startswith("DAPI"))
    return np.clip(dapi * 100, 0, 65535).astype(np.uint16)


def window_overhead(
    size: int = 1500,
    arch: str = "unet",
    encoder: str = "resnet18",
    depth: int = 3,
    tile: int = 480,
    bs: int = 8,
    rounds: int = 3,
    device: str = "auto",
) -> dict[str, Any]:
    """Time the window over a field, and its network alone on the same batches: medians over rounds."""
    member = made_up_segmenter(SegSpec(arch, encoder, depth), tile, device, bs)
    pixels = PercentileScaling()(made_up_dapi(size))[None]
    batches = [(tiles - 0.5) / 0.25 for _, tiles in window_batches(pixels, tile, member.overlap, bs)]
    loops = {
        "window": lambda: [band.mean for band in member.bands(pixels)],
        "bare": lambda: [member.network(tiles.astype(np.float32)) for tiles in batches],
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for name in [*loops] * (rounds + 1):
        started = time.perf_counter()
        loops[name]()
        seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(s[1:]) for name, s in seconds.items()}  # the first round warms up
    return {
        "encoder": encoder,
        "size": size,
        "tile": tile,
        "tiles": sum(len(b) for b in batches),
        "seconds": {name: round(s, 4) for name, s in medians.items()},
        "window_over_bare": round(medians["window"] / medians["bare"], 3),
    }


def made_up_segmenter(spec: SegSpec, tile: int, device: str, bs: int = 8) -> Segmenter:
    """Return a `Segmenter` of an untrained network that takes bright pixels for nuclei."""
    torch.manual_seed(0)
    facts = SegFacts(
        channels=("DAPI",), scaling=PercentileScaling(), mean=(0.5,), std=(0.25,), tile=tile, foreground=0.15
    )
    model = SureOfNuclei(create_seg_model(spec, "none", tile))
    return Segmenter(model, seg_model_card(spec, facts), RunFolder(Path("none")), pick_device(device), bs=bs)


def _predict_slide(path: Path, spec: SegSpec, tile: int, device: str) -> dict[str, Any]:
    """Measure the prediction of a slide in this process."""
    before = peak_mb()
    ensemble = Ensemble([made_up_segmenter(spec, tile, device)])
    started, cpu = time.perf_counter(), time.process_time()
    with predict_field(ensemble, path, keep=(), scratch=path.parent) as found:
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        scratch = sum(f.stat().st_size for f in path.parent.rglob("*") if f.is_file() and f != path)
        labels = path.with_name("labels.ome.tif")
        write_ome_tiff(labels, Computed(found.labels, lambda a: a.astype(np.uint32), np.uint32), ["nucleus id"], 0.5)
        height, width = found.field.shape
        return {
            "size": [height, width],
            "encoder": spec.encoder,
            "seconds": round(seconds, 1),
            "cpu_seconds_per_megapixel": round(cpu / (height * width / 1e6), 3),
            "megapixels_per_second": round(height * width / seconds / 1e6, 3),
            "cells": len(found.cells),
            "peak_mb": peak_mb(),
            "peak_mb_before": before,
            "scratch_mb": round(scratch / 2**20, 3),
            "labels_file_mb": round(labels.stat().st_size / 2**20, 3),
        }
