"""dedl_fastai: from multiplex immunofluorescence fields to measured models and per-cell results."""

__version__ = "0.1.0"
