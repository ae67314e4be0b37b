"""Files in and out: fields, segmentation maps, masks and cell tables. Imports no deep-learning library."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "field": ["Field", "open_field"],
        "inform": ["read_segmentation_maps", "tissue_classes"],
        "masks": ["read_labels", "read_mask"],
        "tables": ["read_cell_table", "read_outlines"],
        "writers": ["write_component_tiff", "write_label_tiff"],
    },
)
