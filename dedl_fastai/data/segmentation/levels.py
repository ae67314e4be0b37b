"""Augmentation of tiles by the name of its strength."""

from collections.abc import Callable

from ...errors import UserError
from .augment import TileAugment
from .intensity import IntensityAugment

LEVELS = ("paper", "standard", "strong")


def augmentation(
    level: str,
    rotate: float = 3.0,
    flips: bool = True,
    dihedral: bool = False,
    tile: int = 480,  # edge in pixels
) -> list[Callable]:
    """Return the batch transforms of a level.

    paper: rotation by up to `rotate` degrees, and `flips` and quarter turns (`dihedral`) as given. standard: any
    rotation and flip, zoom by up to 1.35, contrast and brightness, and shifts by up to a quarter of a tile. strong:
    also gamma, blur and noise.
    """
    if level == "paper":
        return [TileAugment(rotate, flips, dihedral)]
    geometry = TileAugment(max_rotate=180.0, flips=True, zoom=0.35, margin=tile // 4)
    if level == "standard":
        return [geometry, IntensityAugment()]
    if level == "strong":
        return [geometry, IntensityAugment(0.4, 0.2, gamma=0.7, blur=1.5, noise=0.08)]
    raise UserError(f"augment={level!r} is unknown; it may be {', '.join(LEVELS)}.")
