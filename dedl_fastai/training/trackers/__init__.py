"""Trackers of experiments: TensorBoard, MLflow and Weights & Biases show the course and the results of a run."""
