"""Cohorts, splits, the demo cohort, tiles and DataBlocks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "augment": ["TileAugment"],
        "block": ["FieldBlock", "NucleiBlock", "SegFacts", "seg_dataloaders"],
        "check": ["check_cohort"],
        "clf_augment": ["PictureAugment"],
        "clf_block": ["ClassesBlock", "PictureBlock", "clf_dataloaders"],
        "clf_inputs": ["INPUTS", "read_input"],
        "clf_items": ["ClfFacts", "ClfItem", "labels_for", "picture_of", "tiles_of_file"],
        "clf_splits": ["clf_folds", "paper_clf_split"],
        "clf_types": ["ClassSet", "TensorPicture"],
        "cohort": ["Cohort"],
        "demo": ["FULL_SIZE", "demo_cohort"],
        "labels": ["Labels", "field_labels", "write_labels"],
        "scaling": ["PercentileScaling"],
        "splits": ["apply_splits", "save_splits", "split_cohort"],
        "tile_labels": ["cell_centres", "splits_by_place"],
        "types": ["TensorField", "TensorNuclei"],
    },
)
