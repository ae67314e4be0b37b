"""Nuclei from a probability map, and the table of cells measured on them. Needs no deep-learning library."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "measure": ["measure_cells"],
        "neighbours": ["neighbourhoods"],
        "options": ["NucleiOptions"],
        "phenotyping": ["add_phenotypes"],
    },
)
