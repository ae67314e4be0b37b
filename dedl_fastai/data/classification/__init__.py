"""Classification data: labels, inputs and folds, and the DataBlock of pictures and their classes."""
