"""Losses, metrics, schedules, callbacks, learners and the run folder."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "app": ["AppCallback"],
        "app_network": ["AppAutoencoder"],
        "callbacks": ["EpochLine", "EpochSeed", "Keeper"],
        "clf_factory": ["clf_learner"],
        "clf_losses": ["class_weights", "clf_loss"],
        "clf_metrics": ["F1Macro", "F1Micro", "MeanAP"],
        "learner": ["FieldLearner", "seg_learner"],
        "losses": ["seg_loss"],
        "metrics": ["TileDice", "TileIoU"],
        "schedule": ["schedule_callbacks"],
        "swa": ["SwaCallback"],
    },
)
