"""Runs, from their options to a finished run folder: train, evaluate, find a learning rate, explain, export."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cells.training": ["train_cells"],
        "classification.training": ["train_clf"],
        "evaluation": ["evaluate_run"],
        "explanation": ["draw_explanation"],
        "export": ["export_run"],
        "learning_rate": ["find_lr"],
        "members": ["train_folds", "train_members"],
        "out_of_fold": ["train_test_folds"],
        "options.clf": ["ClfConfig"],
        "options.seg": ["SegConfig"],
        "segmentation.training": ["train_seg"],
    },
)
