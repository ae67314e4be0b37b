"""StarDist (star-convex polygons; published weights `2D_versatile_fluo`); BSD-3, weights trained on DSB2018."""

import tempfile
from importlib.metadata import version

import numpy as np
import tensorflow as tf
from csbdeep.utils import normalize
from job import Job, job_of_arguments, threads
from stardist.models import Config2D, StarDist2D


def main(job: Job) -> None:
    """Train or load the model, and segment the fields of the job."""
    tf.config.threading.set_intra_op_parallelism_threads(threads())
    images = [_scaled(image) for image in job.images()]
    with tempfile.TemporaryDirectory() as folder:
        model = _trained(job, folder) if job.trains else StarDist2D.from_pretrained("2D_versatile_fluo")
        with job.timed("predict"):
            labels = [model.predict_instances(image)[0] for image in images]
    weights, licence = ("from scratch", "own") if job.trains else ("2D_versatile_fluo", "BSD-3")
    job.finish(labels, f"stardist {version('stardist')}", weights, licence)


def _scaled(image: np.ndarray) -> np.ndarray:
    return normalize(image, 1, 99.8)


def _trained(job: Job, folder: str) -> StarDist2D:
    size = 128
    config = Config2D(
        n_rays=32,
        grid=(2, 2),
        n_channel_in=1,
        train_patch_size=(size, size),
        train_batch_size=8,
        train_tensorboard=False,  # a package of its own
    )
    model = StarDist2D(config, name="peer", basedir=folder)
    train, valid = ([_at_least(a, size) for a in part] for part in (_pixels(job, "train"), _pixels(job, "valid")))
    train_ids, valid_ids = ([_at_least(a, size) for a in job.ids(part)] for part in ("train", "valid"))
    with job.timed("train"):
        model.train(
            train, train_ids, validation_data=(valid, valid_ids), augmenter=_augmented, epochs=job.epochs, seed=0
        )
        model.optimize_thresholds(valid, valid_ids)
    return model


def _pixels(job: Job, part: str) -> list[np.ndarray]:
    return [_scaled(image) for image in job.images(part)]


def _at_least(array: np.ndarray, edge: int) -> np.ndarray:
    """Pad a picture that is smaller than a training patch."""
    missing = [(0, max(0, edge - length)) for length in array.shape]
    return np.pad(array, missing, mode="reflect") if any(sum(missing, ())) else array


def _augmented(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flips, quarter turns and brightness, as in StarDist's example of a training."""
    turns, flip = np.random.randint(4), np.random.rand() < 0.5
    x, y = np.rot90(x, turns), np.rot90(y, turns)
    if flip:
        x, y = x[::-1], y[::-1]
    x = x * np.random.uniform(0.6, 2) + np.random.uniform(-0.2, 0.2)
    return x + 0.02 * np.random.uniform(0, 1) * np.random.normal(0, 1, x.shape), y


if __name__ == "__main__":
    main(job_of_arguments())
