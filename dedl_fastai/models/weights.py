"""Weights of networks: errors of failed downloads, weights files, and loading them into an encoder."""

import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from ..errors import UserError
from ..io.files import existing_file, written_whole
from .heads import MAPS
from .names import NUCLEI, WEIGHTS, EncoderChoice

log = logging.getLogger(__name__)


@contextmanager
def pretrained_errors(choice: EncoderChoice) -> Iterator[None]:
    """Turn a failed download into a `UserError` that names the file and the ways to proceed."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as e:
        if choice.smp_weights is None:
            raise
        raise UserError(
            f"the pretrained weights {_hub_file(choice)} are unavailable ({_reason(e)}). Use weights=none to train "
            f"from scratch, weights=packaged (with efficientnet-lite0), weights=FILE for weights on disk, or fill the "
            f"Hugging Face cache (HF_HOME) on a machine with internet access and copy it here."
        ) from e


def _hub_file(choice: EncoderChoice) -> str:
    if choice.smp_name.startswith("tu-"):
        import timm

        cfg = timm.models.get_pretrained_cfg(choice.smp_name[3:])
        return f"{cfg.hf_hub_id}/model.safetensors" if cfg and cfg.hf_hub_id else choice.smp_name
    from segmentation_models_pytorch.encoders import encoders

    settings = encoders[choice.smp_name]["pretrained_settings"][choice.smp_weights]
    return f"{settings['repo_id']}/model.safetensors"


def _reason(e: BaseException) -> str:
    first = str(e).strip().split("\n")[0]
    return first if len(first) < 160 else f"{type(e).__name__}: {first[:120]}..."


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a .safetensors file, or of a .pth or .pt file with weights_only.

    Raises `UserError` if the file is damaged, holds other objects, or holds no tensors.
    """
    path = existing_file(path)
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(path.read_bytes())
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        raise UserError(f"{path} is a pickle of more than weights and is not loaded: save its state_dict.") from e
    except Exception as e:  # the error of a damaged file depends on the damaged byte
        raise UserError(f"{path} cannot be read as weights ({_reason(e)}): copy it again.") from e
    for key in ("state_dict", "model"):
        value = value[key] if isinstance(value, dict) and isinstance(value.get(key), dict) else value
    if not isinstance(value, dict) or not any(isinstance(v, torch.Tensor) for v in value.values()):
        raise UserError(f"{path} holds no tensors: a state_dict is needed.")
    return {k: v for k, v in value.items() if isinstance(v, torch.Tensor)}


def read_weights_option(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of the file or run folder that `weights` names; the error for a missing one lists the names."""
    path = Path(path)
    if not path.exists() and str(path) not in WEIGHTS:
        raise UserError(f"weights={path} is neither an existing file nor one of {', '.join((*WEIGHTS, NUCLEI))}.")
    return read_tensors(path / "best.safetensors" if path.is_dir() else path)


def write_tensors(path: str | Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors as a safetensors file, whole or not at all."""
    data = save_safetensors({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    with written_whole(path) as tmp:
        tmp.write_bytes(data)


def has_finite_weights(model: nn.Module) -> bool:
    """True if no parameter is NaN or infinite."""
    return all(bool(p.isfinite().all()) for p in model.parameters())


def load_encoder_weights(model: nn.Module, path: str | Path) -> None:
    """Load a file into `model.encoder`, or the weights of a whole run into `model`.

    Accepts encoder weights under smp's, timm's or torchvision's names, with or without the prefix `encoder.`, and the
    files of this package. A first convolution for three channels is adapted to other numbers of channels. Raises
    `UserError` if the file fits less than half of the encoder.
    """
    load_encoder_tensors(model, read_weights_option(path), str(path))


def load_encoder_tensors(
    model: nn.Module,
    tensors: dict[str, torch.Tensor],
    source: str,  # named in messages
) -> None:
    """Load tensors into `model.encoder`, or into all of `model` if they are those of the whole network.

    A network without the maps of a head is whole too.
    """
    own = model.state_dict()
    whole = {k: v for k, v in tensors.items() if k in own and v.shape == own[k].shape}
    if all(name.startswith(MAPS) for name in own.keys() - whole.keys()):
        model.load_state_dict(whole, strict=False)
        return
    prefixes = ("encoder.", "encoder.model.")
    fitting: dict[str, torch.Tensor] = {}
    for name, value in tensors.items():
        for key in (name, *(p + name for p in prefixes)):
            if key in own and key.startswith("encoder."):
                fitting[key] = _fit_first_conv(value, own[key].shape)
    fitting = {k: v for k, v in fitting.items() if v.shape == own[k].shape}
    n_encoder = sum(k.startswith("encoder.") for k in own)
    if len(fitting) < n_encoder / 2:
        raise UserError(
            f"{source} fits {len(fitting)} of the {n_encoder} tensors of the encoder: it belongs to another network."
        )
    log.info("%s: %d of %d tensors of the encoder loaded", source, len(fitting), n_encoder)
    model.load_state_dict(fitting, strict=False)


def _fit_first_conv(value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Adapt (out, 3, k, k) weights to the channels of `shape` as smp does: summed for one, repeated for more."""
    if value.ndim != 4 or value.shape[1] != 3 or value.shape[1] == shape[1] or value.shape[2:] != shape[2:]:
        return value
    if shape[1] == 1:
        return value.sum(1, keepdim=True)
    repeated = value[:, [i % 3 for i in range(shape[1])]]
    return repeated * (3 / shape[1])


def quicken_statistics(model: nn.Module, momentum: float = 0.1) -> None:
    """Raise batch norm's momentum to at least torch's default.

    With EfficientNet's 0.01 the running statistics need thousands of steps when a network is trained from scratch.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
            module.momentum = max(module.momentum, momentum)
