"""Training of segmentation models: learner, losses, metrics, and the paper's autoencoder (APP)."""
