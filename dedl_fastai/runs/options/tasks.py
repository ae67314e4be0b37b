"""`CONFIGS`: the class of the options of each task."""

from .clf import ClfConfig
from .seg import SegConfig

CONFIGS: dict[str, type[SegConfig | ClfConfig]] = {"seg": SegConfig, "clf": ClfConfig}
