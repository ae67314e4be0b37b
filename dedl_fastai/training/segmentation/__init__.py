"""Training a segmentation model: learner, losses, metrics, and the paper's autoencoder (APP)."""
