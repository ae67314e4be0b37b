"""Readers of image files, one module per format; each gives a `Field` with named channels that is read by region."""
