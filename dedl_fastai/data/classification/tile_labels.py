"""Labels of tiles: positions of a table's cells in the image, classes of each tile, and a split by place."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ...errors import UserError
from ...io.fields.field import Field
from ...io.fields.readers import open_field
from ..cohort import Cohort
from ..tiles import grid
from .labels import Labels, cells_of_row, labelled

log = logging.getLogger(__name__)

_INSIDE = 0.95  # share of the cells that must be inside the image for a unit to be accepted
_POSITIONS = (("x_px", "y_px"), ("x", "y"))  # columns in pixels that are used before inForm's
VALID_SHARE = TEST_SHARE = 0.2  # of the tile columns when one field is split by place


def cell_centres(table: pd.DataFrame, field: Field) -> np.ndarray:
    """Return the centres (n, 2) of the cells as (y, x) in pixels of the field.

    inForm writes positions in pixels or in microns, the latter from the corner of the field or of the slide. If the
    column names do not give the unit, it is the one with which the cells are inside the field and spread most widely.
    Raises `UserError` if the cells are outside the field in every unit.
    """
    names = {c.lower(): c for c in table.columns}
    for x, y in _POSITIONS:
        if x in names and y in names:
            return _checked({"pixels": table[[names[y], names[x]]].to_numpy(float)}, table, field)
    columns = [[c for n, c in names.items() if n.startswith(f"cell {axis} position")] for axis in "yx"]
    if not all(columns):
        raise UserError(
            f"{_file(table, field)} has no Cell X Position and Cell Y Position, which are needed to label tiles."
        )
    yx = table[[columns[0][0], columns[1][0]]].to_numpy(float)
    guesses = {"pixels": yx}
    if field.pixel_size_um:
        guesses["microns"] = yx / field.pixel_size_um
        if field.origin_um:
            guesses["microns on the slide"] = (yx - np.array(field.origin_um[::-1])) / field.pixel_size_um
    unit = _unit(columns[0][0]) or next((u for c in table.columns if (u := _unit(c))), "")
    return _checked({g: at for g, at in guesses.items() if g.startswith(unit)}, table, field)


def _unit(column: str) -> str:
    """Unit of length in a column name, or "": inForm writes "(pixels)", "(microns)" or "(square microns)"."""
    return "pixels" if "(pixels)" in column else "microns" if "micron" in column and "mega" not in column else ""


def _checked(guesses: dict[str, np.ndarray], table: pd.DataFrame, field: Field) -> np.ndarray:
    """The guess with the cells inside the field; if there are several, the one with the widest spread."""
    edge = np.array(field.shape)
    fits = {g: at for g, at in guesses.items() if not len(at) or ((at >= 0) & (at <= edge)).all(1).mean() >= _INSIDE}
    if not fits:
        raise UserError(
            f"{_file(table, field)}: its cells are outside {field.path} ({edge[0]} x {edge[1]} pixels) in every unit. "
            f"Check that the table belongs to this field, and that the image has a pixel size."
        )
    return max(fits.values(), key=lambda at: float(np.ptp(at, axis=0).sum()) if len(at) else 0.0)


def _file(table: pd.DataFrame, field: Field) -> str:
    return table.attrs.get("path", f"the cell table of {field.path}")


def tile_corners(shape: tuple[int, int], tile: int) -> list[tuple[int, int]]:
    """Return (y, x) of the tiles of a field, without tiles that are less than half inside it in height or width."""
    if tile < 8:
        raise UserError(f"tile={tile} is too small: it must be at least 8 pixels.")

    def is_kept(start: int, edge: int) -> bool:
        return start == 0 or 2 * (edge - start) >= tile

    return [(y, x) for y, x in grid(shape, tile) if is_kept(y, shape[0]) and is_kept(x, shape[1])]


def tile_labels(
    classes: pd.Series,  # class of each cell
    centres: np.ndarray,  # (n, 2) as (y, x) in pixels
    vocab: Sequence[str],
    corners: Sequence[tuple[int, int]],  # (y, x) of the tiles
    tile: int,  # edge in pixels
) -> pd.DataFrame:
    """Count the cells of each class with their centre in each tile; one row per tile, in the order of `corners`."""
    finite = np.isfinite(centres).all(axis=1)
    tile_yx = (np.maximum(centres[finite], 0) // tile).astype(int)
    cells = pd.DataFrame({"y": tile_yx[:, 0], "x": tile_yx[:, 1], "class": classes.to_numpy()[finite]})
    counts = cells.groupby(["y", "x", "class"]).size().to_dict()
    rows = [[counts.get((y // tile, x // tile, name), 0) for name in vocab] for y, x in corners]
    return pd.DataFrame(rows, columns=list(vocab), dtype=int)


def by_tile(labels: Labels, tile: int) -> Labels:
    """Return the labels of the tiles of labelled fields: one row per tile, with columns y, x and source (its field).

    Tiles have the split of their field, or a split by place if `splits_by_place` is true.
    """
    if not labels.cells:
        raise UserError(f"`tile` needs cell tables, but the labels of {labels.cohort.root} are of whole images.")
    by_place = splits_by_place(labels.cohort, tile)
    tables, counts_per_field = [], []
    for row in labels.cohort.rows():
        with open_field(row.image) as field:
            centres, (height, width) = cell_centres(cells_of_row(row), field), field.shape
        corners = tile_corners((height, width), tile)
        counts_per_field.append(
            tile_labels(labels.cells[row.field], centres, vocab=labels.vocab, corners=corners, tile=tile)
        )
        y, x = (list(axis) for axis in zip(*corners, strict=True))
        names = [f"{row.field}_y{top:05d}_x{left:05d}" for top, left in corners]
        tiles = pd.DataFrame([row._asdict()] * len(corners)).drop(columns="Index").assign(source=row.field)
        tables.append(tiles.assign(field=names, y=y, x=x, split=split_by_place(x) if by_place else row.split))
    table = pd.concat(tables, ignore_index=True)
    if by_place:
        n = table.split.value_counts().to_dict()
        log.warning(
            "one patient: its tiles are split by place within the field (%s); the scores do not hold for a new patient",
            n,
        )
    counts = pd.concat(counts_per_field, ignore_index=True).set_index(pd.Index(table.field, name="field"))
    cohort = replace(labels.cohort, table=table)
    return labelled(replace(labels, cohort=cohort, counts=counts, matrix=counts >= labels.min_cells), "tile")


def splits_by_place(cohort: Cohort, tile: int) -> bool:
    """Return whether there are tiles, and they must be split by place."""
    return bool(tile) and has_one_patient(cohort)


def has_one_patient(cohort: Cohort) -> bool:
    """Return whether there is one patient, and no split into training and validation fields."""
    return cohort.table.patient.nunique() == 1 and not {"train", "valid"} <= set(cohort.table.split)


def split_by_place(x: Sequence[int]) -> list[str]:
    """Split tiles by their left edges into train, valid and test columns, with an ignored column between the blocks."""
    columns = sorted(set(x))
    usable = len(columns) - 2
    if usable < 3:
        raise UserError(
            f"the field is {len(columns)} tiles wide, but at least 5 are needed to split it: use a smaller `tile`."
        )
    n_valid, n_test = (max(1, round(share * usable)) for share in (VALID_SHARE, TEST_SHARE))
    n_train = usable - n_valid - n_test
    blocks = ["train"] * n_train + ["ignore"] + ["valid"] * n_valid + ["ignore"] + ["test"] * n_test
    split_of = dict(zip(columns, blocks, strict=True))
    return [split_of[left] for left in x]
