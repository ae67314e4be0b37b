"""Cell types: rules on markers, and the class of each cell from phenotypes, marker columns or intensities."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classify": ["CellClasses", "classify_cells"],
        "gates.fit": ["fit_gates"],
        "gates.gate": ["Gate"],
        "gates.gates": ["Gates", "Origin"],
        "gates.options": ["GateOptions"],
        "rules": ["Rules"],
    },
)
