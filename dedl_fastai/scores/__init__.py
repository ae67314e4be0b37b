"""Predictions compared with the truth: pixels, nuclei and class labels, and simple baselines."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "agreement": ["Agreement"],
        "class_labels": ["clf_scores", "constant_scores"],
        "intervals": ["bootstrap_intervals"],
        "object_matches": ["Matches", "count_matches", "match"],
        "pixel_counts": ["BoundaryCounts", "Counts"],
        "thresholds": ["tune_thresholds"],
    },
)
