"""`write_zoo_package`: a segmentation run as a model of bioimage.io, for ilastik, deepImageJ and QuPath."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from .. import __version__
from ..data.pixels import pick_channels
from ..errors import UserError
from ..extras import optional
from ..inference.engines.portable import exported_program, onnx_bytes
from ..inference.segmenter import Segmenter
from ..io.fields.readers import open_field
from ..io.files import write_text
from ..models.names import HEADS
from .readme import README, model_card

_PAPER = (
    "Singh and Cirrone: A Data-Efficient Deep Learning Framework for Segmentation and Classification of Histopathology "
    "Images (2022)"
)


@dataclass(frozen=True)
class Credits:
    """Who made a model, and under which licence it is passed on (an SPDX name, such as CC-BY-4.0)."""

    author: tuple[str, ...] = ()
    license: str = ""

    def check(self) -> None:
        """Raise a `UserError` if one of them is missing: the archive asks for both."""
        for name in ("author", "license"):
            if not getattr(self, name):
                raise UserError(f"format=bioimageio needs `{name}`: who passes a model on says whose it is.")


class ForegroundLogit(nn.Module):
    """A segmentation network that gives one logit per map: of the foreground, then of the head's maps."""

    def __init__(self, network: nn.Module, n_maps: int = 0):
        super().__init__()
        self.network, self.n_maps = network, n_maps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, 1 + maps, t, t); the sigmoid of the first one is the probability of all classes but class 0."""
        logits = self.network(x).float()
        classes = logits[:, : logits.shape[1] - self.n_maps]
        foreground = torch.logsumexp(classes[:, 1:], dim=1, keepdim=True) - classes[:, :1]
        return torch.cat([foreground, logits[:, logits.shape[1] - self.n_maps :]], dim=1)


def write_zoo_package(
    path: Path, segmenter: Segmenter, image: Path, credits: Credits
) -> Callable[[np.ndarray], np.ndarray]:
    """Write the zip of a bioimage.io model, test it as `bioimageio test` does, and return its network as a function.

    `image` gives the test input and the cover. The function maps normalised tiles to the maps of `Foreground`. Needs
    the extra "bioimageio". Raises `UserError` if the package fails its test.
    """
    optional("bioimageio.core", "bioimageio", "bioimage.io packages")
    from bioimageio.spec import ValidationContext, save_bioimageio_package
    from loguru import logger

    logger.disable("bioimageio")
    network = ForegroundLogit(segmenter.model, HEADS[segmenter.head]).eval()
    raw = _raw_tile(segmenter, image)
    with TemporaryDirectory() as name, ValidationContext(perform_io_checks=False, log_warnings=False):
        folder = Path(name)
        script = _traced(network, raw.shape)
        script.save(str(folder / "weights.pt"))
        opset = _write_onnx(network, raw.shape, folder / "weights.onnx")
        probability = _probability(script, _normalised(segmenter, raw))
        np.save(folder / "test_input.npy", raw)
        np.save(folder / "test_output.npy", probability)
        _cover(raw, probability).save(folder / "cover.png")
        write_text(folder / README, _documentation(segmenter, credits.license))
        save_bioimageio_package(_description(segmenter, folder, credits, opset=opset), output_path=path)
    _check(path)
    return lambda inputs: _as_foreground(_probability(script, inputs))


def _as_foreground(probability: np.ndarray) -> np.ndarray:
    """Return maps (b, 1 + maps, t, t) as `Foreground` gives them, without the second axis for a mask alone."""
    return probability[:, 0] if probability.shape[1] == 1 else probability


def _raw_tile(segmenter: Segmenter, image: Path) -> np.ndarray:
    """Return the middle of a field as it is in the file, float32 (1, C, t, t); smaller fields are mirrored."""
    edge = segmenter.tile
    with open_field(image) as field:
        channels = pick_channels(field, segmenter.facts.channels)
        region = [(max(0, (n - edge) // 2), min(n, max(0, (n - edge) // 2) + edge)) for n in field.shape]
        (y0, y1), (x0, x1) = region
        pixels = np.stack([field.read(c, y0=y0, y1=y1, x0=x0, x1=x1) for c in channels])
    missing = [(0, 0), *((0, edge - n) for n in pixels.shape[1:])]
    return np.pad(pixels, missing, mode="symmetric")[None].astype(np.float32)


def _normalised(segmenter: Segmenter, raw: np.ndarray) -> np.ndarray:
    mean, std = (v.astype(np.float32)[:, None, None] for v in (segmenter.mean, segmenter.std))
    scaled = np.stack([segmenter.facts.scaling(plane) for plane in raw[0]])
    return ((scaled - mean) / std)[None]


def _traced(network: nn.Module, shape: tuple[int, ...]) -> torch.jit.ScriptModule:
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch, which prefers torch.export; other programs read TorchScript
        return torch.jit.trace(network, torch.zeros(shape), check_trace=False)


@torch.no_grad()
def _probability(network: nn.Module, inputs: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(inputs)).sigmoid().numpy()


def _write_onnx(network: nn.Module, shape: tuple[int, ...], file: Path) -> int:
    """Write the network as ONNX, and return the version of its operators."""
    data = onnx_bytes(exported_program(network, (shape[1], shape[2], shape[3])))
    file.write_bytes(data)
    return optional("onnx", "engines", "ONNX files").load_from_string(data).opset_import[0].version


def _cover(raw: np.ndarray, probability: np.ndarray) -> Image.Image:
    """Return the first channel beside the probability, twice as wide as high."""
    low, high = np.percentile(raw[0, 0], [1, 99.8])
    image = np.clip((raw[0, 0] - low) / max(high - low, 1e-6), 0, 1)
    picture = Image.fromarray(np.uint8(255 * np.hstack([image, probability[0, 0]])))
    return picture.resize((512, 256), Image.Resampling.LANCZOS)


def _documentation(segmenter: Segmenter, licence: str) -> str:
    assert segmenter.run is not None
    text = re.sub(r"(?m)^- \*\*Licence\*\*: .*$", f"- **Licence**: {licence}.", model_card(segmenter.run))
    channels = ", ".join(segmenter.facts.channels)
    use = (
        f"\n## Use\n\nThe input has the channels {channels} with the intensities of the file, and is scaled by the "
        f"percentiles of the picture that is given: give whole fields rather than single tiles where a program can. "
        f"The first channel of the output is the probability of nuclei; above {segmenter.threshold:g} it is a "
        f"nucleus (tuned on the validation fields).\n"
    )
    return text + use


def _description(segmenter: Segmenter, folder: Path, credits: Credits, opset: int) -> Any:
    from bioimageio.spec.model import v0_5 as spec

    def file(name: str) -> Any:
        return spec.FileDescr(source=folder / name)

    facts, edge = segmenter.facts, segmenter.tile
    maps = ["nuclei", *(f"{segmenter.head}_{i}" for i in range(HEADS[segmenter.head]))]
    try:
        return spec.ModelDescr(
            name=_title(segmenter),
            description=f"Nuclei in {', '.join(facts.channels)}: {segmenter!r}",
            authors=[spec.Author(name=name) for name in credits.author],
            license=credits.license,
            cite=[spec.CiteEntry(text=_PAPER, url="https://github.com/pranavsinghps1/DEDL")],
            documentation=file(README),
            covers=[file("cover.png")],
            tags=["segmentation", "nuclei", "fluorescence", "dedl-fastai"],
            inputs=[
                spec.InputTensorDescr(
                    id="pixels",
                    axes=_axes(list(facts.channels), edge, spec.SpaceInputAxis, pixel_size_um=facts.pixel_size_um),
                    test_tensor=file("test_input.npy"),
                    data=spec.IntervalOrRatioDataDescr(type="float32"),
                    preprocessing=_preprocessing(segmenter),
                )
            ],
            outputs=[
                spec.OutputTensorDescr(
                    id="probability",
                    axes=_axes(maps, edge, spec.SpaceOutputAxis, pixel_size_um=facts.pixel_size_um),
                    test_tensor=file("test_output.npy"),
                    data=spec.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0)),
                    postprocessing=[spec.SigmoidDescr()],
                )
            ],
            weights=spec.WeightsDescr(
                torchscript=spec.TorchscriptWeightsDescr(
                    source=folder / "weights.pt", pytorch_version=torch.__version__.split("+")[0]
                ),
                onnx=spec.OnnxWeightsDescr(source=folder / "weights.onnx", opset_version=opset, parent="torchscript"),
            ),
            config=spec.Config(dedl_fastai={"version": __version__, "threshold": segmenter.threshold}),
        )
    except ValueError as e:  # pydantic's, for a licence or a name that the specification refuses
        raise UserError(f"bioimage.io refuses the description of the model: {e}") from e


def _title(segmenter: Segmenter) -> str:
    name = segmenter.run.path.name if segmenter.run else ""
    return re.sub(r"[^\w ()-]+", " ", f"Nuclei of dedl-fastai ({name})", flags=re.ASCII)


def _axes(channels: list[str], edge: int, space: type, pixel_size_um: float | None) -> list[Any]:
    from bioimageio.spec.model import v0_5 as spec

    size = {"unit": "micrometer", "scale": pixel_size_um} if pixel_size_um else {}
    names = [re.sub(r"\W+", "_", c, flags=re.ASCII).strip("_").lower() or "channel" for c in channels]
    in_plane = [space(id=a, size=edge, **size) for a in "yx"]
    return [spec.BatchAxis(), spec.ChannelAxis(channel_names=names), *in_plane]


def _preprocessing(segmenter: Segmenter) -> list[Any]:
    """Return the scaling by percentiles, per picture and channel, the clipping, and the standardisation."""
    from bioimageio.spec.model import v0_5 as spec

    scaling = segmenter.facts.scaling
    return [
        spec.ScaleRangeDescr(
            kwargs=spec.ScaleRangeKwargs(axes=("y", "x"), min_percentile=scaling.low, max_percentile=scaling.high)
        ),
        spec.ClipDescr(kwargs=spec.ClipKwargs(min=0.0, max=1.0)),
        spec.FixedZeroMeanUnitVarianceDescr(
            kwargs=spec.FixedZeroMeanUnitVarianceAlongAxisKwargs(
                mean=segmenter.mean.tolist(), std=segmenter.std.tolist(), axis="channel"
            )
        ),
    ]


def _check(path: Path) -> None:
    """Raise a `UserError` if the package fails what `bioimageio test` checks, with each kind of weights."""
    from bioimageio.core import test_model

    summary = test_model(path)
    if summary.status != "passed":
        errors = [e.msg for detail in summary.details for e in detail.errors]
        raise UserError(f"the bioimage.io package fails its test: {'; '.join(errors)}")
