"""Readers of image files, one module a format: each gives a `Field` with named channels, read by region."""
