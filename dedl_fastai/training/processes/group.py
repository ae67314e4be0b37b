"""The group of processes that train one model: joining and leaving it, ranks, exchange of results, devices.

torchrun (or `seg --nproc`) starts the processes and describes the group in their environment. Only process 0 writes and
prints.
"""

import gc
import os
import sys
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

_PATIENCE = timedelta(days=2)  # process 0 evaluates whole fields while the others wait; torchrun detects dead processes
_FILE = "DEDL_GROUP"  # in the environment: the file by which processes on one machine meet
_store: dist.Store | None = None  # outlives a broken group; counts failures


def world_size() -> int:
    """Return the number of processes that train this model; 1 outside a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_first() -> bool:
    """Return True in process 0, which writes and prints."""
    return rank() == 0


def on_this_machine(folder: str) -> dict[str, str]:
    """Return the environment of processes that meet in a folder of this machine, and that no other machine reaches.

    torch's own meeting point (`TCPStore`) listens to the whole network and asks nobody who he is.
    """
    loopback = "lo" if sys.platform.startswith("linux") else "lo0"
    names = {name: os.environ.get(name, loopback) for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
    return {_FILE: f"{folder}/group", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", **names}


def open_group() -> None:
    """Join the group of processes that torchrun started, if any: gloo between CPUs, NCCL between GPUs."""
    global _store
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    optional("accelerate", "distributed", "several processes")
    if _FILE in os.environ:
        number, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        _store = dist.FileStore(os.environ[_FILE], size)
    else:
        _store, number, size = next(iter(dist.rendezvous("env://")))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=_store, rank=number, world_size=size, timeout=_PATIENCE)


def close_group() -> None:
    """Leave the group once all processes are here, and end its threads.

    The threads end with the last owner of the group. Every `DistributedDataParallel` model is an owner, often in a
    reference cycle, so wrapped models must be released first. A thread that outlives the interpreter and then releases
    a tensor aborts the process ("terminate called without an active exception", pytorch issue 190489).
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    _wait_for_all()
    gc.collect()
    dist.destroy_process_group()


def fails_first() -> bool:
    """Return True in the first process that calls it after a failure: the others fail as a consequence."""
    try:
        return _store is None or _store.add("failures", 1) == 1
    except RuntimeError:  # the process with the store has ended
        return False


def from_first(make: Callable[[], T]) -> T:
    """Call `make()` in process 0 only, and return its result, or raise its `UserError`, in every process."""
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
    """Run the block in process 0 before the others, so that a cache is filled only once."""
    if not is_first():
        _wait_for_all()
    yield
    if is_first() and world_size() > 1:
        _wait_for_all()


def _wait_for_all() -> None:
    """Wait at a barrier on the CPU: NCCL's occupies the GPUs and needs their numbers."""
    dist.all_reduce(torch.zeros(1))


def share_weights(model: nn.Module) -> None:
    """Copy the weights and buffers of process 0 to all processes."""
    if world_size() > 1:
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, 0)


def share_of_batch(bs: int) -> int:
    """Return the number of items per process in a batch; `bs` is the total over all processes."""
    if bs % world_size():
        raise UserError(f"bs={bs} is shared by {world_size()} processes: a multiple of {world_size()} is needed.")
    return bs // world_size()


def process_device(name: str = "auto") -> torch.device:
    """Return the device of that name; each of several processes has its own GPU."""
    device = pick_device(name)
    if world_size() == 1 or device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise UserError(f"device={name!r} does not work with several processes: use cuda (one GPU per process) or cpu.")
    number, n_gpus = int(os.environ.get("LOCAL_RANK", rank())), torch.cuda.device_count()
    if number >= n_gpus:
        raise UserError(f"there are fewer GPUs ({n_gpus}) than processes: start {n_gpus} processes, or use device=cpu.")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
