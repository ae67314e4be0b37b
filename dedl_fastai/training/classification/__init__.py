"""Training of classification models: learner, losses, metrics."""
