"""`networks_csv`: multiply-adds and activations of every network of the paper, counted on meta tensors."""

import csv
import io

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ...models.classification import ClfSpec, create_clf_model
from ...models.segmentation import SegSpec, create_seg_model
from ...runs.options.seg import SegConfig
from ...training.segmentation.autoencoder import AppAutoencoder
from .costs import NetworkCost, network_name
from .tables import MORE, TABLES, load_table

_COLUMNS = ("task", "network", "size", "gmacs", "mega_activations")
_SIZES = {"seg": 480, "clf": 384}  # the paper's edges, in pixels


def networks_csv() -> str:
    """Count all networks (a minute) and return the text of published/networks.csv, to be updated when one changes."""
    cells = [c for name in (*TABLES, *MORE) for c in load_table(name).cells if not c.why_not]
    networks = dict.fromkeys((c.task, network_name(c.task, c.options)) for c in cells)
    costs = {(task, name, _SIZES[task]): count_network(task, name, _SIZES[task]) for task, name in networks}
    costs["seg", "app", _SIZES["seg"]] = count_app(_SIZES["seg"])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([*key, f"{c.gmacs:.5g}", f"{c.mega_activations:.5g}"] for key, c in costs.items())
    return out.getvalue()


def count_network(task: str, network: str, size: int) -> NetworkCost:
    """Count a network ("unet resnet18", or a classification model) for an item of `size` x `size` pixels."""
    with torch.device("meta"):
        if task == "clf":
            spec = ClfSpec(network, size)
            return _count(create_clf_model(spec, "none"), torch.empty(1, spec.in_channels, size, size))
        arch, encoder = network.split()
        seg = SegSpec(arch, encoder)
        model = create_seg_model(seg, "none", size).to("meta")  # smp creates the first convolution on the CPU
        return _count(model, torch.empty(1, seg.in_channels, size, size))


def count_app(tile: int) -> NetworkCost:
    """Count APP's autoencoder for the share of a tile's rows that its loss is estimated from by default."""
    rows = round(tile * SegConfig.default_of("app_rows"))
    with torch.device("meta"):
        return _count(AppAutoencoder(tile), torch.empty(rows, tile))


def _count(model: nn.Module, x: torch.Tensor) -> NetworkCost:
    written = _Written()
    attention = sdpa_kernel(SDPBackend.MATH)  # the other kernels exist on some processors only, and write less
    with torch.no_grad(), attention, FlopCounterMode(display=False) as flops, written:
        model.eval()(x)
    return NetworkCost(flops.get_total_flops() / 2e9, written.numbers / 1e6)


class _Written(TorchDispatchMode):
    """Counts the numbers that operations write; views write none."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view and func is not torch.ops.aten._unsafe_view.default:
            outputs = out if isinstance(out, tuple | list) else (out,)
            self.numbers += sum(t.numel() for t in outputs if isinstance(t, torch.Tensor))
        return out
