"""Cohorts, splits, the demo cohort, tiles and DataBlocks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "augment": ["TileAugment"],
        "block": ["FieldBlock", "NucleiBlock", "SegFacts", "seg_dataloaders"],
        "check": ["check_cohort"],
        "cohort": ["Cohort"],
        "demo": ["FULL_SIZE", "demo_cohort"],
        "phenotypes": ["Rules"],
        "scaling": ["PercentileScaling"],
        "splits": ["apply_splits", "save_splits", "split_cohort"],
        "types": ["TensorField", "TensorNuclei"],
    },
)
