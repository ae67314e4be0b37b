"""Training a classification model: learner, losses, metrics."""
