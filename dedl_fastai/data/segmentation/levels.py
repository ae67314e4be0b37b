"""Augmentation of tiles by the name of its strength."""

from collections.abc import Callable

from ...errors import UserError
from .augment import TileAugment
from .crowd import CrowdAugment
from .intensity import IntensityAugment

LEVELS = ("paper", "standard", "wide", "strong")


def augmentation(
    level: str,
    rotate: float = 3.0,
    flips: bool = True,
    dihedral: bool = False,
    tile: int = 480,  # edge in pixels
    crowd: float = 0.0,  # share of the tiles that `CrowdAugment` changes
) -> list[Callable]:
    """Return the batch transforms of a level.

    paper: rotation by up to `rotate` degrees, and `flips` and quarter turns (`dihedral`) as given. standard: any
    rotation and flip, zoom by up to 1.35, contrast and brightness, and shifts by up to a quarter of a tile. wide: the
    same with tiles reduced by up to 2, and shifted by up to half a tile. strong: as standard, and gamma, blur and
    noise. With `crowd`, tiles whose targets are ids get more nuclei, at any level.
    """
    crowded = [CrowdAugment(crowd)] if crowd else []
    if level == "paper":
        return [TileAugment(rotate, flips, dihedral), *crowded]
    min_zoom, margin = (1 / 2, tile // 2) if level == "wide" else (1 / 1.35, tile // 4)
    geometry = TileAugment(max_rotate=180.0, flips=True, min_zoom=min_zoom, max_zoom=1.35, margin=margin)
    if level in ("standard", "wide"):
        return [geometry, *crowded, IntensityAugment()]
    if level == "strong":
        return [geometry, *crowded, IntensityAugment(0.4, 0.2, gamma=0.7, blur=1.5, noise=0.08)]
    raise UserError(f"augment={level!r} is unknown; it may be {', '.join(LEVELS)}.")
