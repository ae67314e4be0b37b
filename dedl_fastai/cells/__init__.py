"""From a probability map to nuclei and a table of cells. numpy, scipy and scikit-image alone."""

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
