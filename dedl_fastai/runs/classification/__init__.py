"""A classification run: training, evaluation, figures."""
