"""Training: losses, metrics, schedules, callbacks, learners, several processes, and the run folder."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "segmentation.app": ["AppCallback"],
        "segmentation.autoencoder": ["AppAutoencoder"],
        "callbacks": ["EpochLine", "EpochSeed"],
        "keeper": ["Keeper"],
        "classification.learner": ["clf_learner"],
        "classification.losses": ["class_weights", "clf_loss"],
        "classification.metrics": ["F1Macro", "F1Micro", "MeanAP"],
        "learner": ["FieldLearner"],
        "segmentation.learner": ["seg_learner"],
        "segmentation.losses": ["seg_loss"],
        "segmentation.metrics": ["TileDice", "TileIoU", "TunedIoU"],
        "schedule": ["schedule_callbacks"],
        "swa": ["SwaCallback"],
    },
)
