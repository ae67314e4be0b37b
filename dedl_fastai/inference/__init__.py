"""Trained runs as models: loading them, predicting whole fields and slides with them, and class activation maps."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cell_types": ["load_cell_types"],
        "classifier": ["Classifier"],
        "classifier_ensemble": ["ClassifierEnsemble"],
        "engines.engine": ["make_engine"],
        "ensemble": ["Ensemble", "Segmenter"],  # with the verbs that the ensemble gives to a single model
        "load": ["load_run"],
        "field_cells": ["FieldCells", "predict_field"],
    },
)
