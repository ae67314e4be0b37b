"""Speed and memory of training, inference and data loading, as ratios measured in one run on one machine."""
