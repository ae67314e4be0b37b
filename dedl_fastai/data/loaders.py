"""`FieldDataLoaders`: `DataLoaders` that keep what a model must know of the data and accept image files."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader


class FieldDataLoaders(DataLoaders):
    """`DataLoaders` with `facts` (what a model must know of the data), `vocab` and `c` (the classes and their number).

    They are kept by `new_empty`, so that they survive `learn.export` and `load_learner`.
    """

    known: dict[str, Any]

    @classmethod
    def of(cls, dls: DataLoaders, items_of: Callable[[str | Path], list], **known: Any) -> "FieldDataLoaders":
        """The loaders of `dls`; `items_of(path)` gives the items of an image file, `known` are attributes to keep."""
        return cls(*dls.loaders, path=dls.path, device=dls.device)._with({"items_of": items_of, **known})

    def _with(self, known: dict[str, Any]) -> "FieldDataLoaders":
        self.known = known
        for name, value in known.items():
            setattr(self, name, value)
        return self

    def new_empty(self) -> "FieldDataLoaders":
        """The same without items."""
        return super().new_empty()._with(self.known)

    def test_dl(self, test_items: Iterable[Any], rm_type_tfms: int | None = None, **kwargs: Any) -> DataLoader:
        """Return a loader of new items, without augmentation. An image file becomes its tiles or its picture."""
        items = [i for given in test_items for i in self._items(given)]
        return super().test_dl(items, rm_type_tfms=rm_type_tfms, **kwargs)

    def _items(self, given: Any) -> list:
        return self.items_of(given) if isinstance(given, str | Path) else [given]
