"""Matching of predicted nuclei with the cells of a table: by nucleus, or by place."""

import numpy as np
from scipy.spatial import cKDTree

from ..errors import UserError

MATCH = ("nucleus", "place")
RADIUS_UM, RADIUS_PX = 4.0, 8.0  # largest distance of a match by place; in pixels if their size is unknown


def matched_cells(
    labels: np.ndarray,  # (H, W) ids of the predicted nuclei, 0 is background
    ids: np.ndarray,  # (M,) ids of the nuclei to match, ascending
    nuclei: np.ndarray,  # (M, 2) their centres as (y, x) in pixels
    cells: np.ndarray,  # (N, 2) centres of the table's cells, likewise; NaN for unknown positions
    by: str = "nucleus",  # nucleus, place
    pixel_size_um: float | None = None,
) -> np.ndarray:
    """Return the index of the table's cell that belongs to each nucleus, (M,) int, or -1. The matching is one to one.

    By nucleus: the cell whose centre is inside the nucleus, and of several the one that is nearest to the centre of the
    nucleus. By place: the nearest cell within 4 um (8 pixels if the pixel size is unknown), nearest pairs first.
    """
    if by not in MATCH:
        raise UserError(f"match={by!r} is unknown; it may be {' or '.join(MATCH)}.")
    if by == "nucleus":
        return match_by_nucleus(labels, ids, nuclei=nuclei, cells=cells)
    return match_by_place(nuclei, cells, RADIUS_UM / pixel_size_um if pixel_size_um else RADIUS_PX)


def match_by_nucleus(labels: np.ndarray, ids: np.ndarray, nuclei: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """For each nucleus the index of the cell whose centre is inside it, -1 if there is none; see `matched_cells`."""
    known = np.isfinite(cells).all(axis=1)
    at = np.round(np.where(known[:, None], cells, -1)).astype(int)
    inside = np.flatnonzero(((at >= 0) & (at < np.array(labels.shape))).all(axis=1))
    under = np.asarray(labels)[tuple(at[inside].T)]
    is_nucleus = np.isin(under, ids) & (under > 0)
    cell, nucleus = inside[is_nucleus], np.searchsorted(ids, under[is_nucleus])
    distance = np.linalg.norm(cells[cell] - nuclei[nucleus], axis=1)
    return _one_to_one(nucleus, cell, distance, len(ids))


def match_by_place(nuclei: np.ndarray, cells: np.ndarray, radius: float) -> np.ndarray:
    """For each nucleus the index of a cell within the radius, -1 if there is none; see `matched_cells`."""
    known = np.flatnonzero(np.isfinite(cells).all(axis=1))
    if not len(known) or not len(nuclei):
        return np.full(len(nuclei), -1)
    pairs = cKDTree(nuclei).sparse_distance_matrix(cKDTree(cells[known]), radius, output_type="ndarray")
    return _one_to_one(pairs["i"], known[pairs["j"]], pairs["v"], len(nuclei))


def _one_to_one(nucleus: np.ndarray, cell: np.ndarray, distance: np.ndarray, n: int) -> np.ndarray:
    """Accept candidate pairs by ascending distance, unless one of the two is taken; (n,) cell of each nucleus or -1."""
    match = np.full(n, -1)
    taken: set[int] = set()
    for k in np.lexsort((cell, nucleus, distance)):
        if match[nucleus[k]] < 0 and int(cell[k]) not in taken:
            match[nucleus[k]] = cell[k]
            taken.add(int(cell[k]))
    return match
