"""Several processes that train one model: who is who, how they start, and how they end together.

torchrun (or `seg --nproc`) starts them; each finds its place in the environment. Process 0 alone writes and prints.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from ...errors import UserError
from ...extras import optional
from ...models.device import pick_device

T = TypeVar("T")

_PATIENCE = timedelta(days=2)  # process 0 measures whole fields while the others wait; torchrun notices dead ones
_store: dist.Store | None = None  # outlives a broken group: who fails first is counted there


def world_size() -> int:
    """How many processes train this model; 1 outside a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_first() -> bool:
    """True in the process that writes and prints."""
    return rank() == 0


def open_group() -> None:
    """Join the processes that torchrun started, if it did: gloo between CPUs, NCCL between GPUs."""
    global _store
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    optional("accelerate", "distributed", "several processes")
    _store, number, size = next(iter(dist.rendezvous("env://")))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=_store, rank=number, world_size=size, timeout=_PATIENCE)


def close_group() -> None:
    """Leave the group when every process got here, with none of its threads left running.

    The group's threads end when its last owner does, and every `DistributedDataParallel` model is one, often in a
    reference cycle. A thread that outlives the interpreter's end and then drops a tensor aborts the process
    ("terminate called without an active exception", pytorch issue 190489): so wrapped models must be let go of first.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    _wait_for_all()
    gc.collect()
    dist.destroy_process_group()


def fails_first() -> bool:
    """True in the first process that asks: the others fail because it did, and have nothing to add."""
    try:
        return _store is None or _store.add("failures", 1) == 1
    except RuntimeError:  # the process or agent that held the store is gone
        return False


def from_first(make: Callable[[], T]) -> T:
    """What `make()` returns in process 0, the only one that calls it, in every process; its `UserError` too."""
    if world_size() == 1:
        return make()
    result: list[Any] = [None, None]
    if is_first():
        try:
            result[0] = make()
        except UserError as e:
            result[1] = e.message
    dist.broadcast_object_list(result, device=torch.device("cpu"))
    if result[1] is not None:
        raise UserError(result[1])
    return result[0]


@contextmanager
def first_before_others() -> Iterator[None]:
    """Process 0 goes through the block before the others do: what it leaves in a cache is made once."""
    if not is_first():
        _wait_for_all()
    yield
    if is_first() and world_size() > 1:
        _wait_for_all()


def _wait_for_all() -> None:
    """A barrier on the CPU: NCCL's keeps the GPUs busy, and needs to know which."""
    dist.all_reduce(torch.zeros(1))


def share_weights(model: nn.Module) -> None:
    """Give every process the weights and buffers of process 0."""
    if world_size() > 1:
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, 0)


def share_of_batch(bs: int) -> int:
    """Items of a batch that one process gets; `bs` is of all together, so that runs compare with those of one."""
    if bs % world_size():
        raise UserError(f"bs={bs} is shared by {world_size()} processes: a multiple of {world_size()} is needed.")
    return bs // world_size()


def process_device(name: str = "auto") -> torch.device:
    """The device of that name; with several processes each has a GPU of its own."""
    device = pick_device(name)
    if world_size() == 1 or device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise UserError(f"device={name!r} with several processes: use cuda (a GPU each) or cpu.")
    number, there = int(os.environ.get("LOCAL_RANK", rank())), torch.cuda.device_count()
    if number >= there:
        raise UserError(f"there are fewer GPUs ({there}) than processes: start {there}, or use device=cpu.")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
