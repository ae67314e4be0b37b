"""Segmentation data: the DataBlock of tiles and nucleus masks, their tensor types and their augmentation."""
