"""`demo_cohort`: a small synthetic cohort in Van Buren's layout, for first runs and tests. Same seed, same bytes."""

from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import UserError
from ...io.files import written_whole
from ...io.inform_writer import write_component_tiff, write_label_tiff
from ...phenotypes.rules import Rules
from ..cohort import Cohort
from ..splits import PAPER_PATIENTS
from .cells import Cells, scatter_cells
from .difficulty import Difficulty, difficulty_of, draw_flaws
from .render import CHANNELS, composite, render_field

FULL_SIZE = (1408, 1876)  # a field of the paper
PIXEL_SIZE_UM = 0.4971  # 20x
_IMAGES = "CD27 Panel-- Component"
_LABELS = "Labels/CD27 cell labels"
_PHENOTYPES = "phenotype_labels"


def demo_cohort(
    path: str | Path,
    fields: int = 28,
    patients: int = 7,  # the first seven have the paper's names, so that split=paper works
    size: tuple[int, int] = (256, 320),  # (H, W) in pixels; FULL_SIZE is the paper's
    seed: int = 0,
    difficulty: str = "easy",  # easy; hard: of telling which cells are positive; packed: of telling nuclei apart
) -> Cohort:
    """Write a synthetic cohort into the folder `path` and return it.

    The files are in Van Buren's layout: component TIFFs as inForm writes them (8 float32 channels and a thumbnail),
    masks, outlines and tables of measured cells. Nuclei differ in size and brightness and touch each other; haze,
    fibres and uneven light prevent a threshold from separating them. Positive markers follow the `tfh5` rules. The same
    seed gives the same bytes, and since every field has its own random stream, a larger cohort begins with the same
    fields.

    In the hard cohort, immune cells are rarer and a part of the positive cells is dim, some cells are autofluorescent
    (bright in every channel, and negative), channels receive signal of their neighbours in the spectrum, and the gain
    of each channel varies between slides. In the packed cohort, nuclei fill the field and touch, as in lymphoid tissue,
    and the masks hold their ids, so that `head="distance"` can be trained on them. Its patients are named Syn089, ...:
    they train beside real ones.
    """
    root = Path(path)
    if patients < 1 or fields < patients:
        raise UserError(f"{fields} fields for {patients} patients: each patient needs at least one field.")
    if min(size) < 64:
        raise UserError(f"size={size[0]}x{size[1]} is too small: it must be at least 64x64 pixels.")
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty: choose a new folder for the demo cohort.")
    hardness = difficulty_of(difficulty)
    names = [name.replace("Myo", hardness.prefix) for name in patient_names(patients)]
    rules = Rules.load("tfh5")
    for i in range(fields):
        _write_field(root, i, names[i % patients], size=size, seed=seed, rules=rules, difficulty=hardness)
    return Cohort.load(root)


def patient_names(n: int) -> list[str]:
    """Return n names of patients: the paper's seven, then invented ones."""
    paper = [p for patients in PAPER_PATIENTS.values() for p in patients]
    return (paper + [f"Myo{600 + 7 * i}" for i in range(max(0, n - len(paper)))])[:n]


def _write_field(
    root: Path, index: int, patient: str, *, size: tuple[int, int], seed: int, rules: Rules, difficulty: Difficulty
) -> None:
    rng = np.random.default_rng([seed, index])
    inflammation = np.random.default_rng([seed, 10_000, int(patient[3:])]).uniform(0.1, 0.9)  # one level per patient
    inflamed = float(np.clip(inflammation + rng.normal(0, 0.12), 0, 1))
    cells = scatter_cells(rng, size, inflamed, rules, rare=difficulty.rare, crowding=difficulty.crowding)
    of_field, of_slide = ([seed, kind, n] for kind, n in ((20_000, index), (30_000, int(patient[3:]))))
    cells, flaws = draw_flaws(cells, difficulty, np.random.default_rng(of_field), np.random.default_rng(of_slide))
    planes, nuclei = render_field(rng, size, cells, flaws=flaws, haze=difficulty.haze)
    origin = (7000.0 + 950 * (index % 7), 39000.0 + 720 * (index // 7))
    base = f"121919_{patient}_[{origin[0]:.0f},{origin[1]:.0f}]_component"
    write_component_tiff(
        root / _IMAGES / f"{base}_data.tif",
        planes=planes,
        colors=list(CHANNELS.values()),
        thumbnail=composite(planes),
        pixel_size_um=PIXEL_SIZE_UM,
        origin_um=origin,
        slide_id=f"121919_{patient}",
        software="dedl_fastai demo cohort (made up, not a measurement)",
    )
    mask = nuclei.astype(np.uint16) if difficulty.ids else (nuclei > 0) * np.uint8(255)
    write_label_tiff(root / _LABELS / "Mask Labels" / f"{base}_data.tifMask.tif", mask, PIXEL_SIZE_UM)
    _write_table(root / _LABELS / f"{base}_datalabels", _outline_table(cells))
    _write_table(root / _PHENOTYPES / f"{base}_dataMeasured", _measured_table(cells, planes))


def _outline_table(cells: Cells) -> pd.DataFrame:
    points = cells.outlines.reshape(-1, 2)
    labels = np.repeat([f"Cell{i + 1}" for i in range(len(cells.outlines))], cells.outlines.shape[1])
    return pd.DataFrame({"Label": labels, "X": points[:, 1].round(3), "Y": points[:, 0].round(3)})


def _measured_table(cells: Cells, planes: dict[str, np.ndarray]) -> pd.DataFrame:
    y, x = cells.centres.T.astype(int)
    table = pd.DataFrame({"listname": [f"Cell{i + 1}" for i in range(len(y))]})
    for marker, is_positive in cells.positive.items():
        table[str(marker).lower()] = is_positive.astype(int)
    table["x"], table["y"] = cells.centres[:, 1].round(2), cells.centres[:, 0].round(2)
    table["dapi_mean"] = planes["DAPI"][y, x].round(3)
    return table


def _write_table(path: Path, table: pd.DataFrame) -> None:
    table.index = pd.RangeIndex(1, len(table) + 1)  # ImageJ numbers rows from 1
    with written_whole(path) as tmp:
        table.to_csv(tmp, sep="\t", index_label=" ", lineterminator="\n")
