"""Defaults that the library and the commands share. Imports only the standard library."""

PAD = "zero"  # beyond a field's edge, as in the paper; or "reflect"
SEED = 26  # of splits, initial weights, the order of items and the augmentation
