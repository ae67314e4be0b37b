"""Losses, metrics, schedules, callbacks, learners and the run folder."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "app": ["AppCallback"],
        "app_network": ["AppAutoencoder"],
        "callbacks": ["EpochLine", "EpochSeed", "Keeper"],
        "learner": ["FieldLearner", "seg_learner"],
        "losses": ["seg_loss"],
        "metrics": ["TileDice", "TileIoU"],
        "schedule": ["schedule_callbacks"],
    },
)
