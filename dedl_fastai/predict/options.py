"""Options of `predict` for segmentation runs. Imports only the standard library, so that --help is fast."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from ..cells.options import RADIUS_UM, NucleiOptions
from ..errors import UserError
from ..inference.options import BATCH_SIZE, SCALE, parse_scale
from ..io.limits import PIXEL_SIZES_UM
from ..runs.options.base import Options, option

if TYPE_CHECKING:
    from ..phenotypes.gates.fit import Cuts
    from ..phenotypes.rules import Rules

RESULTS, CELLS, FILES, NETWORK = "Results", "Cells", "Input files", "Network and hardware"
SCALE_PER = ("folder", "field")
_TOPICS = (RESULTS, CELLS, FILES, NETWORK)


@dataclass(frozen=True)
class ModelOptions(Options):
    """Which weights of the networks are used, and how they are run."""

    topics: ClassVar[tuple[str, ...]] = _TOPICS

    which: str = option("best", "Weights: best, last or swa.", NETWORK)
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps.", NETWORK)
    engine: str = option("torch", "Inference engine: torch, onnx, openvino.", NETWORK)
    amp: str = option("no", "Mixed precision: no, fp16 or bf16.", NETWORK)
    channels_last: bool | None = option(
        None, "Memory layout that is faster for convolutions on the CPU and on new GPUs (default: on the CPU).", NETWORK
    )
    tta: str = option(
        "none", "Test-time augmentation: none, flips (4 times slower), dihedral (8 times slower).", NETWORK
    )
    bs: int = option(BATCH_SIZE, "Tiles per batch.", NETWORK)
    overlap: float | None = option(
        None, "Overlap of neighbouring tiles, 0 to below 1 (default: the run's own).", NETWORK
    )

    def __post_init__(self):
        from ..inference.window import TTA

        super().__post_init__()
        if self.tta not in TTA:
            raise UserError(f"tta={self.tta!r} is unknown; it may be {', '.join(TTA)}.")
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise UserError(f"overlap={self.overlap:g}: give a share of a tile, at least 0 and below 1.")
        if self.bs < 1:
            raise UserError(f"bs={self.bs}: a batch has at least one tile.")


@dataclass(frozen=True)
class CellOptions(Options):
    """What is written for each field, and how cells are found and measured. `UserError` for invalid options."""

    topics: ClassVar[tuple[str, ...]] = _TOPICS

    write: str = option(
        "mask,labels,cells,geojson",
        "Files to write, separated by commas: mask, labels, cells, geojson, geojson.gz, probability, uncertainty, "
        "overlay, neighbours, parquet, rois, h5ad, omezarr, omezarr05, spatialdata; or all.",
        RESULTS,
    )
    rules: str = option("", "Phenotype rules for the cells: tfh5, vanburen3, or a FILE.", CELLS)
    thresholds: str = option(
        "",
        "Mean intensity above which a marker is positive, as CD19=1.2,CD4=3; CD4=3/8 for dim and bright cells.",
        CELLS,
    )
    gates: str = option(
        "",
        "gates.json with the cut-offs of the markers, as gate writes it (default: one cut-off per marker, from the "
        "cells of all fields).",
        CELLS,
    )
    cell_types: str = option(
        "", "Types by a classifier of single cells, the RUN of clf --items cells, in place of rules.", CELLS
    )
    min_confidence: float | None = option(
        None, "Leave the type undecided below this probability (default: the classifier's own).", CELLS
    )
    ring_um: float = option(2.0, "Width of the ring around a nucleus that is measured, in um.", CELLS, flag="ring")
    radius_um: float = option(
        RADIUS_UM, "Largest distance between the centres of neighbouring cells, in um.", CELLS, flag="radius"
    )
    min_area_um2: float = option(
        NucleiOptions.min_area_um2, "Smallest area of a nucleus, in um2.", CELLS, flag="min-area"
    )
    part_by: str = option(
        NucleiOptions.part_by, "Separate touching nuclei by distance (to the rim), or by intensity.", CELLS
    )
    scale: str = option(
        SCALE,
        "Magnify fields for the network: none, auto (so that nuclei look as in training), or a FACTOR.",
        CELLS,
    )
    scale_per: str = option("folder", "With --scale auto: choose it once per folder (all inputs), or per field.", CELLS)
    channel: str = option(
        "", "The model's channels in these files (default: as in training); blue-only: DAPI of composites.", FILES
    )
    pixel_size_um: float = option(
        0.0,
        "Pixel size in um, for files that do not give theirs (0: none, areas are in pixels).",
        FILES,
        flag="pixel-size",
    )
    jobs: int = option(
        1,
        "Fields in progress at a time: they take turns in the network, and the rest is done side by side. Each needs "
        "the memory of a field.",
        NETWORK,
    )
    overwrite: bool = option(False, "Overwrite existing results.", RESULTS)
    suggest: int = option(
        0,
        "Say which fields, and which regions, to look at and correct next: this many, in summary.csv, regions.csv and "
        "report.html.",
        RESULTS,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.suggest < 0:
            raise UserError(f"suggest={self.suggest}: it cannot be negative.")
        if self.ring_um < 0 or not self.radius_um > 0:
            raise UserError(
                f"ring_um={self.ring_um:g} radius_um={self.radius_um:g}: a ring cannot be negative, and a radius "
                f"must be above 0."
            )
        if self.pixel_size_um and not PIXEL_SIZES_UM[0] <= self.pixel_size_um <= PIXEL_SIZES_UM[1]:
            raise UserError(
                f"pixel_size_um={self.pixel_size_um:g}: give the edge of a pixel, from {PIXEL_SIZES_UM[0]:g} to "
                f"{PIXEL_SIZES_UM[1]:g} um."
            )
        if self.jobs < 1:
            raise UserError(f"jobs={self.jobs}: at least one field is predicted at a time.")
        parse_scale(self.scale)
        if self.scale_per not in SCALE_PER:
            raise UserError(f"scale_per={self.scale_per!r} is unknown; it may be {' or '.join(SCALE_PER)}.")
        _ = self.nuclei, self.markers_above, self.rule_set, self.kinds  # each checks its options
        for name in ("thresholds", "gates"):
            if getattr(self, name) and not self.rules:
                raise UserError(f"`{name}` are for the markers of `rules`: give `rules` too.")
        if self.cell_types and self.rules:
            raise UserError("`cell_types` and `rules` both give the types of the cells: leave one of them out.")
        if self.min_confidence is not None and not (self.cell_types and 0 <= self.min_confidence < 1):
            raise UserError("`min_confidence` is a probability, 0 to below 1, and needs `cell_types`.")

    @property
    def kinds(self) -> list[str]:
        """The kinds of files to write."""
        from .kinds import parse_kinds

        return parse_kinds(self.write, bool(self.rules or self.cell_types))

    @property
    def channels(self) -> list[str]:
        """Names of the model's channels in the files; empty: as in training."""
        from ..data.pixels import parse_channels

        return parse_channels(self.channel) if self.channel else []

    @property
    def nuclei(self) -> NucleiOptions:
        """How nuclei are separated and which of them are kept."""
        return NucleiOptions(min_area_um2=self.min_area_um2, part_by=self.part_by)

    @property
    def markers_above(self) -> "dict[str, Cuts]":
        """The given thresholds: marker -> intensity above which it is positive."""
        from ..phenotypes.classify import parse_thresholds

        return parse_thresholds(self.thresholds)

    @cached_property
    def rule_set(self) -> "Rules | None":
        """The phenotype rules, or None."""
        from ..phenotypes.rules import Rules

        return Rules.load(self.rules) if self.rules else None
