"""Masks of several annotators: one truth made of them, how far they agree, and a model against each of them."""
