"""Run folders that hold a tiny network, and what a fresh Python predicts with them."""

import json
import subprocess
import sys

import numpy as np
import torch

from dedl_fastai.models.segmentation import SegSpec, create_seg_model
from dedl_fastai.models.weights import write_tensors

from ..fields import CARD

_PREDICT = """
import sys
import numpy as np
from dedl_fastai.inference.load import load_segmenter
run, engine, tiles, out = sys.argv[1:]
np.save(out, load_segmenter(run, engine=engine, device="cpu").predict_tiles(np.load(tiles)))
print(*{"timm", "segmentation_models_pytorch", "torchvision", "onnxscript", "torch._dynamo"} & set(sys.modules))
"""


def run_of(folder, seed=0):
    """Write a run folder with model.json and the weights of a network for tiles of 32 pixels; return it."""
    torch.manual_seed(seed)
    spec = SegSpec("unet", "tu-test_resnet", depth=2, decoder_channels=(16, 16))
    write_tensors(folder / "best.safetensors", create_seg_model(spec, "none", 32).state_dict())
    card = {**CARD, "format": 1, "task": "segmentation", "network": spec.to_dict(), "tile": 32}
    (folder / "model.json").write_text(json.dumps(card))
    return folder


def predicted_elsewhere(run, engine, tiles, folder):
    """What a fresh Python predicts, and which libraries of networks it has imported; `folder` is for the arrays."""
    np.save(folder / "tiles.npy", tiles)
    arguments = [str(a) for a in (run, engine, folder / "tiles.npy", folder / "out.npy")]
    done = subprocess.run([sys.executable, "-c", _PREDICT, *arguments], capture_output=True, text=True, check=True)
    return np.load(folder / "out.npy"), done.stdout.split()
