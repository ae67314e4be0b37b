"""Cohorts of fields, their splits, labels and pixels, and the DataBlocks of both tasks; the synthetic cohort."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "segmentation.augment": ["TileAugment"],
        "segmentation.block": ["FieldBlock", "InstancesBlock", "NucleiBlock", "seg_block", "seg_dataloaders"],
        "segmentation.facts": ["SegFacts"],
        "segmentation.loader_facts": ["facts_of_loaders"],
        "segmentation.intensity": ["IntensityAugment"],
        "segmentation.levels": ["augmentation"],
        "check": ["check_cohort"],
        "classification.augment": ["PictureAugment"],
        "classification.block": ["ClassesBlock", "PictureBlock", "clf_block", "clf_dataloaders"],
        "classification.inputs": ["INPUTS", "read_input"],
        "classification.items": ["ClfFacts", "ClfItem", "labels_for", "picture_of", "tiles_of_file"],
        "classification.folds": ["clf_folds", "paper_clf_split"],
        "classification.tensors": ["ClassSet", "TensorPicture"],
        "cohort": ["Cohort"],
        "demo.cohort": ["FULL_SIZE", "demo_cohort"],
        "classification.labels": ["Labels", "field_labels", "write_labels"],
        "patient_folds": ["outer_folds"],
        "scaling": ["PercentileScaling"],
        "splits": ["apply_splits", "save_splits", "split_cohort"],
        "classification.tile_labels": ["cell_centres", "splits_by_place"],
        "segmentation.tensors": ["TensorField", "TensorInstances", "TensorNuclei"],
    },
)
