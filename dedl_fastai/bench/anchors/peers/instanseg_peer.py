"""InstanSeg (published weights `fluorescence_nuclei_and_cells`); Apache-2.0."""

from importlib.metadata import version

import numpy as np
import torch
from instanseg import InstanSeg
from job import Job, job_of_arguments, threads


def main(job: Job) -> None:
    """Load the model, and segment the fields of the job."""
    if job.trains:
        raise SystemExit("InstanSeg is used with its published weights only.")
    torch.set_num_threads(threads())
    images = job.images()
    model = InstanSeg("fluorescence_nuclei_and_cells", device="cpu", verbosity=0)
    with job.timed("predict"):
        labels = [_segment(model, *field) for field in zip(images, job.pixel_sizes, strict=True)]
    job.finish(labels, f"instanseg-torch {version('instanseg-torch')}", "fluorescence_nuclei_and_cells", "Apache-2.0")


def _segment(model: InstanSeg, image: np.ndarray, pixel_size_um: float | None) -> np.ndarray:
    found = model.eval_small_image(image[None], pixel_size=pixel_size_um, target="nuclei", return_image_tensor=False)
    return found[0, 0].numpy()


if __name__ == "__main__":
    main(job_of_arguments())
