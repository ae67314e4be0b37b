"""Defaults that the library and the commands share. Imports only the standard library."""

PAD = "zero"  # beyond a field's edge, as in the paper; or "reflect"
UNIFORM, FOREGROUND = SAMPLES = ("uniform", "foreground")  # how the tiles of an epoch are drawn
EACH_PATIENT = "patients"  # as a number of test folds: one for each patient
SEED = 26  # of splits, initial weights, the order of items and the augmentation
