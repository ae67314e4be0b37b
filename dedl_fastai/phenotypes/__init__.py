"""What type a cell is: rules on its markers, and the class they give each cell."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classify": ["CellClasses", "classify_cells"],
        "rules": ["Rules"],
    },
)
