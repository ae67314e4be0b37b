"""Classifiers of single cells: labelled cells, training on measurements or crops, and the scores of cells' types."""
