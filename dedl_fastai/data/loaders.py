"""`FieldDataBlock` and `FieldDataLoaders`: fastai's, with what a model must know of the data, for image files too."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fastai.data.block import DataBlock, TransformBlock
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader

from .cohort import Cohort


def drops_last(n: int, bs: int) -> bool:
    """Whether the last of n training items would be a batch of its own: batch norm needs more, so it is dropped."""
    return n > bs and n % bs == 1


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


class FieldDataBlock(DataBlock):
    """A `DataBlock` of cohorts; its `dataloaders` keep its attributes `known` and accept image files.

    `known` are the attributes that the loaders get (`facts`, `vocab`, ...), and `items_of(path)` gives the items of an
    image file. All other arguments are fastai's.
    """

    def __init__(
        self,
        blocks: Sequence[TransformBlock],
        items_of: Callable[[str | Path], list],
        known: dict[str, Any],
        **arguments: Any,
    ):
        super().__init__(blocks=blocks, **arguments)
        self.items_of, self.known = items_of, known

    def dataloaders(
        self, source: Any, path: str | Path = ".", verbose: bool = False, bs: int = 16, **arguments: Any
    ) -> FieldDataLoaders:
        """Return the loaders of the items of `source`. A last training batch of a single item is dropped.

        Batch norm fails on a single picture, and its statistics of a single small tile are noise.
        """
        datasets = self.datasets(source, verbose=verbose)
        settings = {
            "drop_last": drops_last(len(datasets.train), bs),
            **self.dls_kwargs,
            **arguments,
            "verbose": verbose,
        }
        dls = datasets.dataloaders(path=path, bs=bs, after_item=self.item_tfms, after_batch=self.batch_tfms, **settings)
        cohort = {"cohort": source} if isinstance(source, Cohort) else {}
        return FieldDataLoaders.of(dls, self.items_of, **self.known, **cohort)
