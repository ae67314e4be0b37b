"""Predict new fields, and write their cells or classes to files that other programs open."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cells": ["predict_cells"],
        "classes": ["predict_classes"],
        "gate": ["gate_cells"],
        "neighbours": ["find_neighbours"],
        "options": ["CellOptions", "ModelOptions"],
    },
)
