"""A segmentation run: training, evaluation, folds, figures."""
