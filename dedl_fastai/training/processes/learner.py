"""A Learner on several processes: fastai's `distrib_ctx`, with shares of tiles and counts that are exact.

Imports accelerate, by way of fastai: only where there is more than one process.
"""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from fastai.callback.core import Callback
from fastai.data.load import DataLoader
from fastai.distributed import DistributedDL
from fastai.learner import Learner
from fastai.torch_core import to_detach
from timm.layers import convert_sync_batchnorm

from ...data.segmentation.augment import TileAugment
from ...errors import UserError
from .batch_norm import shared_batch_norm
from .group import rank, world_size


class TileShare(DistributedDL):
    """The items of a loader that this process sees: every n-th of the order that all processes agree on.

    So the processes' k-th training batches together hold what one process's k-th batch would. fastai's own class
    pads validation with repeated items, which its metrics then count twice; here every item is seen once, and the
    processes may differ by one item. Training is padded, since all must take the same number of steps.
    """

    def __init__(self, dl: DataLoader, is_training: bool):
        super().__init__(dl, rank(), world_size())
        self.is_training = is_training
        if is_training:
            n = self._n_own()
            self.drop_last = self.dl.drop_last = n > self.bs and n % self.bs == 1  # as in `seg_dataloaders`

    @property
    def rng(self) -> random.Random:
        """The generator of the order, which is the wrapped loader's."""
        return self.dl.rng

    @rng.setter
    def rng(self, value: random.Random) -> None:
        self.dl.rng = value

    def __len__(self) -> int:
        n = self._n_own()
        return n // self.bs if self.drop_last else math.ceil(n / self.bs)

    def get_idxs(self) -> list[int]:
        """This process's items, in process 0's order."""
        order = self._broadcast(list(self.dl.get_idxs()), 0)
        if self.is_training:
            order += order[: -len(order) % self.world_size]
        return order[self.rank :: self.world_size]

    def to_detach(self, b: Any, cpu: bool = True, gather: bool = True) -> Any:
        """Without gathering: the number of batches may differ, and sums are shared once an epoch."""
        return to_detach(b, cpu, gather=False)

    def _broadcast(self, t: list[int], rank: int) -> list[int]:
        order = torch.tensor(t)  # fastai's moves it to CUDA; our groups carry CPU tensors too
        dist.broadcast(order, rank)
        return order.tolist()

    def _n_own(self) -> int:
        n = self.dl.n + (-self.dl.n % self.world_size if self.is_training else 0)
        return len(range(self.rank, n, self.world_size))


class SharedValidation(Callback):
    """The validation loss is of all tiles: sums over the processes. The metrics sum their counts themselves.

    Validation runs on the bare model: what wraps it synchronises at every batch, of which there may be one less.
    """

    order = 49  # after DistributedTrainer (11), before Recorder (50) notes the loss

    def before_validate(self) -> None:
        """Take the wrapping off."""
        self.wrapped = self.learn.model
        self.learn.model = self.wrapped.module

    def after_validate(self) -> None:
        """Put it on again, and sum the losses."""
        self.learn.model = self.wrapped
        del self.wrapped  # it owns the process group, and would keep it alive
        loss = self.recorder.loss
        sums = torch.tensor([float(loss.total), float(loss.count)], dtype=torch.float64)
        dist.all_reduce(sums)
        loss.total, loss.count = sums.tolist()


@contextmanager
def on_all_processes(learn: Learner) -> Iterator[None]:
    """Within the block `learn.fit` trains one model on all processes of the group, as one process would.

    Each sees its share of every batch, with the augmentation that one process would draw; gradients are averaged
    (`DistributedDataParallel`), and batch norm's statistics are those of the whole batch. What is left of a difference
    to one process is a loss that is no mean over tiles (Dice, weighted cross-entropy): it is taken of each share.
    Raises `UserError` where there are fewer tiles of a side than processes.
    """
    whole = learn.dls.loaders
    if min(dl.n for dl in whole) < world_size():
        raise UserError(f"there are fewer training or validation tiles than processes ({world_size()}): start fewer.")
    on_cpu = torch.device(learn.dls.device).type == "cpu"
    learn.dls.loaders = [TileShare(dl, is_training=i == 0) for i, dl in enumerate(whole)]
    try:
        with ExitStack() as stack:
            if on_cpu:
                stack.enter_context(shared_batch_norm(learn.model))
            else:  # timm's conversion: torch's own, which fastai uses, loses the activation within timm's batch norm
                learn.model = convert_sync_batchnorm(learn.model)
            stack.enter_context(_own_draws(whole[0]))
            stack.enter_context(learn.distrib_ctx(sync_bn=False, cpu=on_cpu))
            stack.enter_context(learn.added_cbs([SharedValidation()]))
            yield
    finally:
        learn.dls.loaders = whole


@contextmanager
def _own_draws(dl: DataLoader) -> Iterator[None]:
    """Every process draws the augmentation of the whole batch, and takes what belongs to its share."""
    transforms = [t for t in dl.after_batch.fs if isinstance(t, TileAugment)]
    for transform in transforms:
        transform.draw = partial(_draw_and_take, transform.draw)
    try:
        yield
    finally:
        for transform in transforms:
            del transform.draw


def _draw_and_take(draw: Callable[[int], torch.Tensor], n: int) -> torch.Tensor:
    return draw(n * world_size())[rank() :: world_size()]
