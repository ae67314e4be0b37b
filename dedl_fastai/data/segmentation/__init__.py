"""Segmentation data: the DataBlock of tiles and nucleus masks, its tensors and augmentation."""
