"""A classification run: training, evaluation, members of an ensemble, figures."""
