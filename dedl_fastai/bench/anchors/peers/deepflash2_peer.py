"""deepflash2 (a U-Net for the mask, on fastai; nuclei are its connected parts), trained from scratch; Apache-2.0.

Its labels leave a line of background between nuclei that touch. One network instead of its ensemble of five, on an
EfficientNet-B0 without published weights, with tiles of 256 px.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tifffile
import torch
from deepflash2.config import Config
from deepflash2.learner import EnsembleLearner
from fastcore.foundation import L
from job import Job, job_of_arguments, threads
from skimage.measure import label


def main(job: Job) -> None:
    """Train a model, and segment the fields of the job."""
    if not job.trains:
        raise SystemExit("deepflash2 has no published weights for nuclei: train it on your fields (--train).")
    torch.set_num_threads(threads())
    images = [_scaled(image) for image in job.images()]
    with tempfile.TemporaryDirectory() as folder:
        learner = _trained(job, Path(folder))
        learner.inference_ensemble = learner.get_inference_ensemble()
        with job.timed("predict"):
            labels = [label(learner.predict(image[..., None])[0]) for image in images]
    job.finish(labels, f"deepflash2 {version('deepflash2')}", "from scratch", "own")


def _scaled(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, (1, 99.8))
    return ((image - low) / max(high - low, 1e-6)).clip(0, 1).astype(np.float32)


def _trained(job: Job, folder: Path) -> EnsembleLearner:
    parts = {part: _written(job, part, folder) for part in ("train", "valid")}
    config = Config(
        n_models=1,
        encoder_name="efficientnet-b0",
        encoder_weights=None,
        tile_shape=256,
        instance_labels=True,
        use_gpu=False,
        mixed_precision_training=False,
        sample_mult=max(1, 400 // len(parts["train"])),  # its own number of tiles in an epoch, for small images
    )
    files = L(parts["train"] + parts["valid"])
    learner = EnsembleLearner(
        files=files, label_fn=lambda f: f.with_name(f"{f.stem}_ids.tif"), config=config, path=folder
    )
    learner.splits = {1: (L(parts["train"]), L(parts["valid"]))}
    with job.timed("train"):
        learner.fit(1, job.epochs)
    return learner


def _written(job: Job, part: str, folder: Path) -> list[Path]:
    files = []
    for i, (image, ids) in enumerate(zip(job.images(part), job.ids(part), strict=True)):
        files.append(folder / f"{part}{i}.tif")
        tifffile.imwrite(files[-1], _scaled(image))
        tifffile.imwrite(folder / f"{part}{i}_ids.tif", ids.astype(np.uint16))
    return files


if __name__ == "__main__":
    main(job_of_arguments())
