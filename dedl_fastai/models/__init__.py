"""Segmentation and classification networks by name, their pretrained weights, and the device that runs them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classification": ["ClfSpec", "create_clf_model"],
        "device": ["pick_device"],
        "segmentation": ["SegSpec", "create_seg_model"],
    },
)
