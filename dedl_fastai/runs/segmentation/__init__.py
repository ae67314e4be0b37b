"""A segmentation run: training, evaluation, figures."""
