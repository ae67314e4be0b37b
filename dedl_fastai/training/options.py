"""What learners and commands share: the paper's learning rates, and trackers. Imports the standard library alone."""

SEG_RATES = (3.6e-4, 3.4e-4)  # highest rate and floor of the cosine, its 7.5
CLF_RATES = (1e-3, 1e-6)  # its 7.5
TRACKERS = ("tensorboard", "mlflow", "wandb")


def floor_of(lr: float, rates: tuple[float, float]) -> float:
    """The floor that is to `lr` what the floor of `rates` is to their highest rate."""
    highest, lowest = rates
    return lr * lowest / highest if lr != highest else lowest
