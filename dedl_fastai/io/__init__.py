"""Reading and writing files: fields, segmentation maps, masks, cell tables. Imports no deep-learning library."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "anndata": ["write_h5ad"],
        "fields.field": ["Field"],
        "fields.readers": ["open_field"],
        "drawn_nuclei": ["read_drawn_nuclei"],
        "geojson": ["write_geojson"],
        "fields.inform": ["read_segmentation_maps", "tissue_classes"],
        "masks": ["holds_ids", "read_labels", "read_mask"],
        "ome_tiff": ["write_ome_tiff"],
        "ome_zarr": ["write_ome_zarr"],
        "outlines": ["cell_polygons"],
        "imagej_rois": ["write_imagej_rois"],
        "spatialdata": ["write_spatialdata"],
        "cell_tables": ["read_cell_table", "read_outlines", "write_parquet"],
        "inform_writer": ["write_component_tiff", "write_label_tiff"],
    },
)
