"""Predictions against the truth: pixels, nuclei and class labels, beside simple baselines. numpy alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "agreement": ["Agreement"],
        "class_labels": ["bootstrap_intervals", "clf_scores", "constant_scores", "tune_thresholds"],
        "object_matches": ["Matches", "count_matches", "match"],
        "pixel_counts": ["BoundaryCounts", "Counts"],
    },
)
