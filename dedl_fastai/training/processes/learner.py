"""A Learner on several processes: fastai's `distrib_ctx`, with exact shares of the tiles and exact losses.

fastai imports accelerate here, so this module is imported only with more than one process.
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

from ...data.loaders import drops_last
from ...data.segmentation.augment import TileAugment
from ...errors import UserError
from .batch_norm import shared_batch_norm
from .group import rank, world_size


class TileShare(DistributedDL):
    """The items of a loader for this process: every n-th item in an order common to all processes.

    The k-th training batches of all processes together are thus the k-th batch of a single process. fastai's own class
    pads validation with repeated items, which its metrics count twice; here every item is used once, and the processes
    may differ by one item. Training is padded, because all processes must take the same number of steps.
    """

    def __init__(self, dl: DataLoader, is_training: bool):
        super().__init__(dl, rank(), world_size())
        self.is_training, self.shuffle = is_training, dl.shuffle
        if is_training:
            self.drop_last = self.dl.drop_last = drops_last(self._n_own(), self.bs)

    @property
    def rng(self) -> random.Random:
        """Return the random generator that shuffles the items: the wrapped loader's."""
        return self.dl.rng

    @rng.setter
    def rng(self, value: random.Random) -> None:
        self.dl.rng = value

    def __len__(self) -> int:
        n = self._n_own()
        return n // self.bs if self.drop_last else math.ceil(n / self.bs)

    def get_idxs(self) -> list[int]:
        """Return the items of this process, in process 0's order."""
        order = self._broadcast(list(self.dl.get_idxs()), 0)
        if self.is_training:
            order += order[: -len(order) % self.world_size]
        return order[self.rank :: self.world_size]

    def to_detach(self, b: Any, cpu: bool = True, gather: bool = True) -> Any:
        """Detach without gathering: the numbers of batches may differ, and sums are exchanged once per epoch."""
        return to_detach(b, cpu, gather=False)

    def _broadcast(self, t: list[int], rank: int) -> list[int]:
        order = torch.tensor(t)  # fastai moves it to CUDA, but the groups also exchange CPU tensors
        dist.broadcast(order, rank)
        return order.tolist()

    def _n_own(self) -> int:
        n = self.dl.n + (-self.dl.n % self.world_size if self.is_training else 0)
        return len(range(self.rank, n, self.world_size))


class SharedValidation(Callback):
    """Sum the validation loss over the processes; the metrics sum their counts themselves.

    Validation runs on the unwrapped model: the wrapper synchronises at every batch, and a process may have one less.
    """

    order = 49  # after DistributedTrainer (11), before Recorder (50) records the loss

    def before_validate(self) -> None:
        """Unwrap the model."""
        self.wrapped = self.learn.model
        self.learn.model = self.wrapped.module

    def after_validate(self) -> None:
        """Wrap the model again, and sum the losses."""
        self.learn.model = self.wrapped
        del self.wrapped  # it owns the process group and would keep it alive
        loss = self.recorder.loss
        sums = torch.tensor([float(loss.total), float(loss.count)], dtype=torch.float64)
        dist.all_reduce(sums)
        loss.total, loss.count = sums.tolist()


@contextmanager
def on_all_processes(learn: Learner) -> Iterator[None]:
    """Let `learn.fit` train one model on all processes of the group within the block, as one process would.

    Each process uses its share of every batch, with the augmentation that a single process would draw. Gradients are
    averaged (`DistributedDataParallel`), and batch norm uses the statistics of the whole batch. Only losses that are
    not a mean over tiles (Dice, weighted cross-entropy) differ from a single process: they are computed per share.
    Raises `UserError` if there are fewer training or validation tiles than processes.
    """
    whole = learn.dls.loaders
    if min(dl.n for dl in whole) < world_size():
        raise UserError(
            f"there are fewer training or validation tiles than processes ({world_size()}): start fewer processes."
        )
    on_cpu = torch.device(learn.dls.device).type == "cpu"
    learn.dls.loaders = [TileShare(dl, is_training=i == 0) for i, dl in enumerate(whole)]
    try:
        with ExitStack() as stack:
            if on_cpu:
                stack.enter_context(shared_batch_norm(learn.model))
            else:  # torch's conversion, which fastai uses, loses the activation in timm's batch norm
                learn.model = convert_sync_batchnorm(learn.model)
            stack.enter_context(_draws_of_share(whole[0]))
            stack.enter_context(learn.distrib_ctx(sync_bn=False, cpu=on_cpu))
            stack.enter_context(learn.added_cbs([SharedValidation()]))
            yield
    finally:
        learn.dls.loaders = whole


@contextmanager
def _draws_of_share(dl: DataLoader) -> Iterator[None]:
    """Draw the augmentation of the whole batch in every process, and use the part for its share."""
    transforms = [t for t in dl.after_batch.fs if isinstance(t, TileAugment)]
    for transform in transforms:
        transform.draw = partial(_drawn_for_share, transform.draw)  # type: ignore[method-assign]  # until deleted
    try:
        yield
    finally:
        for transform in transforms:
            del transform.draw


def _drawn_for_share(draw: Callable[[int, int], torch.Tensor], n: int, edge: int) -> torch.Tensor:
    return draw(n * world_size(), edge)[rank() :: world_size()]
