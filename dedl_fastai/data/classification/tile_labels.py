"""Labels of tiles: where the cells of a table lie in the image, which tile holds which class, and a split by place."""

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

_INSIDE = 0.95  # share of the cells that must lie in the image for a unit to be believed
_POSITIONS = (("x_px", "y_px"), ("x", "y"))  # columns in pixels, beside inForm's
VALID_SHARE = TEST_SHARE = 0.2  # of the tile columns, where one field is split by place


def cell_centres(table: pd.DataFrame, field: Field) -> np.ndarray:
    """Centres (n, 2) of the cells as (y, x) in pixels of the field.

    inForm writes positions in pixels or in microns, the latter from the field's corner or from the slide's. What the
    column names do not say is told by where the cells come to lie: inside, and all over the field. Raises `UserError`
    where they lie nowhere.
    """
    names = {c.lower(): c for c in table.columns}
    for x, y in _POSITIONS:
        if x in names and y in names:
            return _checked({"pixels": table[[names[y], names[x]]].to_numpy(float)}, table, field)
    found = [[c for n, c in names.items() if n.startswith(f"cell {axis} position")] for axis in "yx"]
    if not all(found):
        raise UserError(f"{_file(table, field)} has no Cell X Position and Cell Y Position: tiles need them.")
    yx = table[[found[0][0], found[1][0]]].to_numpy(float)
    guesses = {"pixels": yx}
    if field.pixel_size_um:
        guesses["microns"] = yx / field.pixel_size_um
        if field.origin_um:
            guesses["microns on the slide"] = (yx - np.array(field.origin_um[::-1])) / field.pixel_size_um
    unit = _unit(found[0][0]) or next((u for c in table.columns if (u := _unit(c))), "")
    return _checked({g: at for g, at in guesses.items() if g.startswith(unit)}, table, field)


def _unit(column: str) -> str:
    """Unit of lengths that a column's name tells: inForm writes "(pixels)", "(microns)", "(square microns)"."""
    return "pixels" if "(pixels)" in column else "microns" if "micron" in column and "mega" not in column else ""


def _checked(guesses: dict[str, np.ndarray], table: pd.DataFrame, field: Field) -> np.ndarray:
    """The guess that puts the cells inside the field, the most spread one of several."""
    edge = np.array(field.shape)
    fits = {g: at for g, at in guesses.items() if not len(at) or ((at >= 0) & (at <= edge)).all(1).mean() >= _INSIDE}
    if not fits:
        raise UserError(
            f"{_file(table, field)}: its cells do not lie in {field.path} ({edge[0]} x {edge[1]} pixels) in any unit: "
            f"is it the table of another field, or is the pixel size missing in the image?"
        )
    return max(fits.values(), key=lambda at: float(np.ptp(at, axis=0).sum()) if len(at) else 0.0)


def _file(table: pd.DataFrame, field: Field) -> str:
    return table.attrs.get("path", f"the cell table of {field.path}")


def tile_corners(shape: tuple[int, int], tile: int) -> list[tuple[int, int]]:
    """(y, x) of the tiles of a field; those of which less than half an edge lies in the field are left out."""
    if tile < 8:
        raise UserError(f"tile={tile} is too small: at least 8 pixels.")

    def counts(at: int, edge: int) -> bool:
        return at == 0 or 2 * (edge - at) >= tile

    return [(y, x) for y, x in grid(shape, tile) if counts(y, shape[0]) and counts(x, shape[1])]


def tile_labels(
    classes: pd.Series,  # class of each cell
    centres: np.ndarray,  # (n, 2) as (y, x) in pixels
    vocab: Sequence[str],
    corners: Sequence[tuple[int, int]],  # (y, x) of the tiles
    tile: int,  # edge in pixels
) -> pd.DataFrame:
    """Number of cells of each class whose centre lies in each tile, a row a tile in the order of `corners`."""
    finite = np.isfinite(centres).all(axis=1)
    at = (np.maximum(centres[finite], 0) // tile).astype(int)
    cells = pd.DataFrame({"y": at[:, 0], "x": at[:, 1], "class": classes.to_numpy()[finite]})
    counted = cells.groupby(["y", "x", "class"]).size().to_dict()
    rows = [[counted.get((y // tile, x // tile, name), 0) for name in vocab] for y, x in corners]
    return pd.DataFrame(rows, columns=list(vocab), dtype=int)


def by_tile(labels: Labels, tile: int) -> Labels:
    """Labels of the tiles of labelled fields: a row a tile, with the columns y, x and source (its field).

    Tiles take the split of their field, or one by place where `splits_by_place` says so.
    """
    if not labels.cells:
        raise UserError(f"`tile` needs cell tables: the labels of {labels.cohort.root} are of whole images.")
    by_place = splits_by_place(labels.cohort, tile)
    tables, counts = [], []
    for row in labels.cohort.table.itertuples():
        with open_field(row.image) as field:
            centres, corners = cell_centres(cells_of_row(row), field), tile_corners(field.shape, tile)
        counts.append(tile_labels(labels.cells[row.field], centres, labels.vocab, corners, tile))
        y, x = (list(axis) for axis in zip(*corners, strict=True))
        names = [f"{row.field}_y{a:05d}_x{b:05d}" for a, b in corners]
        one = pd.DataFrame([row._asdict()] * len(corners)).drop(columns="Index").assign(source=row.field)
        tables.append(one.assign(field=names, y=y, x=x, split=split_by_place(x) if by_place else row.split))
    table = pd.concat(tables, ignore_index=True)
    if by_place:
        n = table.split.value_counts().to_dict()
        log.warning("one patient: its tiles are split by place within the field (%s), which judges no new patient", n)
    counted = pd.concat(counts, ignore_index=True).set_index(pd.Index(table.field, name="field"))
    cohort = replace(labels.cohort, table=table)
    return labelled(replace(labels, cohort=cohort, counts=counted, matrix=counted >= labels.min_cells), "tile")


def splits_by_place(cohort: Cohort, tile: int) -> bool:
    """True if tiles have to be split by place: one patient, and no split that tells training from validation."""
    return bool(tile) and cohort.table.patient.nunique() == 1 and not {"train", "valid"} <= set(cohort.table.split)


def split_by_place(x: Sequence[int]) -> list[str]:
    """Splits of tiles by their left edge: blocks of columns train, valid, test, a column between them ignored."""
    columns = sorted(set(x))
    usable = len(columns) - 2
    if usable < 3:
        raise UserError(f"the field is {len(columns)} tiles wide, at least 5 are needed to split it: a smaller `tile`.")
    n_valid, n_test = (max(1, round(share * usable)) for share in (VALID_SHARE, TEST_SHARE))
    n_train = usable - n_valid - n_test
    blocks = ["train"] * n_train + ["ignore"] + ["valid"] * n_valid + ["ignore"] + ["test"] * n_test
    side = dict(zip(columns, blocks, strict=True))
    return [side[at] for at in x]
